"""What operators did: one record per deed, written by the script that has the effect (AU-14).

The records of a deed lie in the slot of what it changed, because one script cannot write into two
slots of a cluster: a stream called `audit` beside the other keys. Reading merges them by time.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Deed:
    """Who did what to what, and from where. The time is the record's, by the clock of Redis."""

    actor: str
    """The principal: `local`, the name of an API key, or the subject of a token."""
    action: str
    """A verb, as `queue.pause` or `credential.revoke`."""
    target: str
    organization_id: str | None = None
    """The tenant whose thing it was; None: the platform's."""
    key_id: str | None = None
    address: str | None = None
    request_id: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    """No payloads and no secrets."""

    def encode(self) -> bytes:
        """The argument `who` of a script."""
        return orjson.dumps(
            {
                "actor": self.actor,
                "action": self.action,
                "target": self.target,
                "organizationId": self.organization_id,
                "keyId": self.key_id,
                "address": self.address,
                "requestId": self.request_id,
                "parameters": self.parameters,
            }
        )
