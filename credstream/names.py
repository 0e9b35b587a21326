"""The names of the queues that come with Credstream."""

from enum import StrEnum


class QueueName(StrEnum):
    """One member per product queue; its value is the name used in URLs and in Redis."""

    VC_ISSUANCE = "vc-issuance"
    VC_VERIFICATION = "vc-verification"
    WEBHOOKS = "webhooks"
    EMAILS = "emails"
    DID_OPERATIONS = "did-operations"
    STATUS_LISTS = "status-lists"
