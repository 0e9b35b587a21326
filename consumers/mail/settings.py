"""How mail goes out and under whose name, read once from the environment and frozen."""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from email_validator import validate_email
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from schemas.fields import WebUrl
from schemas.queues.emails import OnAmbiguous, header_safe, mailbox

DEVELOPMENT_SENDER = "Credstream <no-reply@credstream.example>"
"""Who captured mail is from when nobody was named."""
PORTS = {"tls": 465, "starttls": 587, "none": 25}


class MailError(Exception):
    """Mail is set up in a way that cannot work; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Sender:
    """A display name (may be empty) and an address in ASCII."""

    name: str
    address: str

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


def _sender(value: Any) -> Any:
    """`Name <name@example.com>` or `name@example.com`."""
    if not isinstance(value, str):
        return value
    name, _, address = value.strip().rpartition("<")
    if name or value.strip().startswith("<"):
        if not address.endswith(">"):
            raise ValueError("must be an address, as Example <name@example.com>")
        address = address[:-1]
    return Sender(header_safe(name.strip().strip('"')), _ascii(address))


def _ascii(address: str) -> str:
    known = validate_email(mailbox(address), check_deliverability=False, test_environment=True)
    if known.ascii_email is None:
        raise ValueError("must be an address in ASCII: not every relay takes others")
    return known.ascii_email


SenderSetting = Annotated[Sender, NoDecode, BeforeValidator(_sender)]
Mode = Literal["tls", "starttls", "none"]


class MailSettings(BaseSettings):
    """Each field is an environment variable of the same name in capitals; an empty one is none."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    mail_backend: Literal["smtp", "capture"] | None = None
    """None: smtp if SMTP_HOST is set, else nothing is sent and jobs wait."""
    mail_from: SenderSetting | None = None
    """Who mail is from, for organizations not named in MAIL_SENDERS."""
    mail_senders: dict[str, SenderSetting] = Field(default_factory=dict)
    """Organization id -> who its mail is from. A JSON object."""
    mail_bounce_address: Annotated[str, AfterValidator(_ascii)] | None = None
    """The envelope sender, where refusals come back to; None: the address mail is from."""
    mail_templates_dir: Path | None = None
    """A directory of template directories beside the three that ship; an equal name wins."""
    mail_on_ambiguous: OnAmbiguous = "resend"
    """What happens when nobody knows whether the relay took a message."""

    smtp_host: str | None = None
    smtp_port: int | None = Field(default=None, ge=1, le=65_535)
    """None: 465, 587 or 25, as SMTP_TLS says."""
    smtp_tls: Mode = "starttls"
    """`tls`: from the first byte; `starttls`: required before anything else is said; `none`: clear
    text, to this machine only. Certificates are always checked."""
    smtp_ca_file: Path | None = None
    """Certificates to trust instead of the system's."""
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    smtp_password_file: Path | None = None
    smtp_timeout_s: float = Field(default=60, gt=0)
    """For a whole delivery, from connecting to the relay's last word."""

    mail_dkim_domain: str | None = None
    mail_dkim_selector: str | None = None
    mail_dkim_key_file: Path | None = None
    """An RSA private key in PEM. With the two above, mail from that domain is signed."""

    public_url: WebUrl = "http://localhost:3000"
    """Where the gateway is reached from outside: unsubscribe links begin with it."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.backend == "smtp":
            self._fits_smtp()
        dkim = (self.mail_dkim_domain, self.mail_dkim_selector, self.mail_dkim_key_file)
        if any(dkim) and not all(dkim):
            raise ValueError(
                "MAIL_DKIM_DOMAIN, MAIL_DKIM_SELECTOR and MAIL_DKIM_KEY_FILE belong together: "
                "set all three or none"
            )
        return self

    def _fits_smtp(self) -> None:
        if self.smtp_host is None:
            raise ValueError("MAIL_BACKEND=smtp needs SMTP_HOST")
        if self.mail_from is None and not self.mail_senders:
            raise ValueError(
                "SMTP needs a sender: set MAIL_FROM, as Example <no-reply@example.com>"
            )
        if self.smtp_tls == "none" and not _is_loopback(self.smtp_host):
            raise ValueError(
                "SMTP_TLS=none sends mail and password in clear text, so it works with a relay on "
                "this machine only (127.0.0.1, ::1 or localhost). Use starttls or tls"
            )
        if self.smtp_username and not (self.smtp_password or self.smtp_password_file):
            raise ValueError("SMTP_USERNAME needs SMTP_PASSWORD or SMTP_PASSWORD_FILE")

    @property
    def backend(self) -> Literal["smtp", "capture"] | None:
        """What is used in fact."""
        return self.mail_backend or ("smtp" if self.smtp_host else None)

    @property
    def port(self) -> int:
        return self.smtp_port or PORTS[self.smtp_tls]

    def password(self) -> str:
        """The relay's password; reads its file anew each time, as it may be rotated.

        Raises MailError when the file cannot be read."""
        if self.smtp_password is not None:
            return self.smtp_password.get_secret_value()
        if self.smtp_password_file is None:
            return ""
        try:
            return self.smtp_password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise MailError(f"SMTP_PASSWORD_FILE cannot be read: {error}.") from None

    def sender_of(self, organization_id: str) -> Sender | None:
        """Who mail of this organization is from; None: it may send none."""
        sender = self.mail_senders.get(organization_id) or self.mail_from
        if sender is None and self.backend == "capture" and not self.mail_senders:
            found: Sender = _sender(DEVELOPMENT_SENDER)
            return found
        return sender


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
