"""What the sending of webhooks can be told, read once from the environment and frozen."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.queues.webhooks import MAX_BODY_BYTES


class DeliverySettings(BaseSettings):
    """WEBHOOK_TIMEOUT_S, WEBHOOK_MAX_BODY_BYTES and WEBHOOK_TRACEPARENT."""

    model_config = SettingsConfigDict(env_prefix="WEBHOOK_", frozen=True, extra="ignore")

    timeout_s: float = Field(default=15, ge=1, le=60)
    """For one attempt, from DNS to the last byte that is read (WH-19)."""
    max_body_bytes: int = Field(default=MAX_BODY_BYTES, ge=1, le=MAX_BODY_BYTES)
    """A longer body is not sent (WH-9)."""
    traceparent: bool = False
    """Tell receivers the W3C trace context of the delivery, where there is one. It is off because
    receivers are other people's: the header lets them link what they get."""
