"""What `credstream doctor` looks at beside Redis: settings that do not go together, or not with
production, and whether the deployment is complete. Nothing is dialled but Redis."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from consumers.mail.settings import MailError, MailSettings
from consumers.rotation import missing_keks
from consumers.settings import WorkerSettings
from credentials.contexts import Contexts, ContextsError
from credentials.keyring import (
    Keyring,
    KeyringError,
    KeyringSettings,
    Purpose,
    configured_keyring,
    variable,
)
from credentials.settings import CredentialSettings
from gateway.oidc import OidcSettings
from gateway.security import Exposed, check_bind
from gateway.settings import GatewaySettings
from outbound.settings import OutboundSettings
from schemas.spec import QueueSpec, catalog
from streams import Queue, Redis, access, notices
from streams.errors import LayoutError
from streams.node import Check
from streams.settings import readable

NEED_KEYS: Mapping[Purpose, frozenset[str]] = {
    "issuer": frozenset({"vc-issuance", "did-operations", "status-lists"}),
    "webhook": frozenset({"webhooks"}),
}
"""Queues whose workers open sealed keys, by the ring they need."""


@dataclass(frozen=True, slots=True)
class Configured:
    """Every settings object that is looked at. Its making raises ValidationError."""

    gateway: GatewaySettings
    worker: WorkerSettings
    mail: MailSettings
    credentials: CredentialSettings
    keyring: KeyringSettings
    outbound: OutboundSettings
    oidc: OidcSettings

    @classmethod
    def read(cls) -> "Configured":
        """From the environment."""
        return cls(
            GatewaySettings(),
            WorkerSettings(),
            MailSettings(),
            CredentialSettings(),
            KeyringSettings(),
            OutboundSettings(),
            OidcSettings(),
        )

    def serves(self, queue: str) -> bool:
        """Whether a worker with these settings works on a queue."""
        return not self.worker.wanted or queue in self.worker.wanted

    @property
    def grave(self) -> Literal["note", "fail"]:
        """How bad it is to leave something as it is for development."""
        return "fail" if self.worker.production else "note"


def of_settings(given: Configured) -> list[Check]:
    """What the settings say, without asking anybody; reads the files they name."""
    return [
        *_keyring(given),
        *_credentials(given),
        *(_mail(given) if given.serves("emails") else ()),
        *_outbound(given),
        *_process(given),
    ]


def ring_of(given: Configured, purpose: Purpose) -> Keyring | None:
    """The ring, where one is configured; nothing is made. Raises KeyringError."""
    worker = given.worker
    return configured_keyring(
        given.keyring, worker.data_dir, production=worker.production, purpose=purpose
    )


def _keyring(given: Configured) -> Iterator[Check]:
    for purpose, queues in NEED_KEYS.items():
        needing = sorted(filter(given.serves, queues))
        if needing:
            yield _ring(given, purpose, needing)


def _ring(given: Configured, purpose: Purpose, needing: list[str]) -> Check:
    name, file = f"{purpose} keys", f"{variable(purpose)}_FILE"
    try:
        ring = ring_of(given, purpose)
    except KeyringError as error:
        fix = "A ring is id:key pairs, each key 32 bytes in base64: docs/dids.md."
        return Check(name, "fail", str(error), fix)
    if ring is None:
        says = f"There is no ring for {purpose} keys: {', '.join(needing)} do not start without."
        fix = f"Set {file}; for development DATA_DIR, in which one is made."
        return Check(name, "fail" if given.worker.production else "warn", says, fix)
    return Check(name, "ok", f"{len(ring.names)} keys; {ring.active} seals.")


def _credentials(given: Configured) -> Iterator[Check]:
    url = given.credentials.public_url
    if _is_local(url):
        says = f"PUBLIC_URL is {url}: what is issued here points to where nobody else can look."
        fix = "Set PUBLIC_URL to the address by which the world reaches the gateway."
        yield Check("public address", given.grave, says, fix)
    elif urlsplit(url).scheme != "https":
        says = f"PUBLIC_URL is {url}: did:web and status lists are fetched by https only."
        yield Check("public address", given.grave, says, "Serve it by https.")
    else:
        yield Check("public address", "ok", f"PUBLIC_URL is {url}.")
    if given.credentials.hosting_domain is None:
        says = "PUBLIC_URL names an IP address, which no did:web may: none can be created."
        yield Check("did:web", "warn", says, "Set DID_WEB_DOMAIN, or a name in PUBLIC_URL.")
    try:
        Contexts.load(given.credentials.contexts_dir)
    except ContextsError as error:
        fix = "Mend its manifest, or leave VC_CONTEXTS_DIR out: docs/credentials.md."
        yield Check("contexts", "fail", str(error), fix)


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def _mail(given: Configured) -> Iterator[Check]:
    mail, worker = given.mail, given.worker
    if mail.backend is None:
        fix = "Set SMTP_HOST and MAIL_FROM, or leave emails out of QUEUES."
        yield Check("mail", "warn", "SMTP_HOST is not set: jobs of emails wait.", fix)
        return
    if mail.backend == "capture":
        says = "MAIL_BACKEND=capture: mail is kept here and not sent."
        yield Check("mail", given.grave, says, "Set MAIL_BACKEND=smtp and SMTP_HOST.")
        return
    try:
        mail.password()
        wrong = _unreadable(mail.smtp_ca_file, mail.mail_dkim_key_file)
    except MailError as error:
        wrong = str(error)
    if wrong:
        yield Check("mail", "fail", wrong, "Mount the file, or correct its path.")
    else:
        where = f"{mail.smtp_host}:{mail.port} ({mail.smtp_tls})"
        yield Check("mail", "ok", f"Mail goes out by {where}.")
    if worker.drain_timeout_s <= mail.smtp_timeout_s:
        says = (
            f"DRAIN_TIMEOUT_S is {worker.drain_timeout_s:g} and SMTP_TIMEOUT_S "
            f"{mail.smtp_timeout_s:g}: a delivery can be cut off, and nobody knows if it went out."
        )
        fix = "Give workers of emails a DRAIN_TIMEOUT_S above SMTP_TIMEOUT_S."
        yield Check("mail drain", "warn", says, fix)


def _unreadable(*files: Path | None) -> str:
    for file in files:
        if file is not None and not os.access(file, os.R_OK):
            return f"{file} cannot be read."
    return ""


def _outbound(given: Configured) -> Iterator[Check]:
    outbound = given.outbound
    opened = [
        name
        for name, on in (
            ("WEBHOOK_ALLOW_HTTP", outbound.allow_http),
            ("WEBHOOK_ALLOW_NETS", outbound.allow_nets),
        )
        if on
    ]
    if wrong := _unreadable(outbound.ca_file):
        yield Check("outbound", "fail", wrong, "Mount the file of WEBHOOK_CA_FILE.")
    elif opened:
        says = f"{' and '.join(opened)}: URLs that tenants name reach what should be out of reach."
        yield Check("outbound", given.grave, says, "Leave them out; they are for development.")
    else:
        how = "through the proxy" if outbound.proxy_url else "to public addresses only"
        yield Check("outbound", "ok", f"What tenants name is called by https, {how}.")


def _process(given: Configured) -> Iterator[Check]:
    if not given.worker.production:
        says = "APP_ENV is not production: what an operator must provide may be made up."
        yield Check("environment", "note", says, "Set APP_ENV=production where it is.")
        return
    yield Check("environment", "ok", "APP_ENV is production.")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        says = "This process is root, and needs none of it."
        yield Check("user", "warn", says, "Run it as another user; the image does.")
    if given.worker.probe_port == 0:
        says = "PROBE_PORT is not set: nobody can tell whether a worker lives, nor measure it."
        yield Check("probes", "warn", says, "Set PROBE_PORT for workers.")


async def of_deployment(redis: Redis, given: Configured) -> list[Check]:
    """What can be told with Redis: who may come in, and who is at work. Raises Unavailable."""
    found = [await _access(redis, given), await _proxies(redis), *_transport(redis, given)]
    if (check := await _sealed(redis, given)) is not None:
        found.append(check)
    found += [await _queue(redis, spec) for name, spec in catalog().items() if given.serves(name)]
    return found


async def _access(redis: Redis, given: Configured) -> Check:
    known = given.oidc.is_configured or await access.configured(redis)
    try:
        check_bind(given.gateway, configured=known)
    except Exposed as error:
        fix = "credstream keys create --name ops --role admin"
        return Check("access", "fail", str(error), fix)
    if known:
        return Check("access", "ok", "Everybody needs a credential.")
    says = "There is no API key and no OpenID provider: "
    fix = "credstream keys create --name ops --role admin"
    if given.gateway.require_auth == "always":
        return Check("access", "warn", says + "nobody can come in.", fix)
    return Check("access", given.grave, says + "who reaches the gateway may do everything.", fix)


async def _proxies(redis: Redis) -> Check:
    if not await notices.is_forwarded(redis):
        return Check("proxies", "ok", "No request came through a proxy that is not trusted.")
    says = (
        "Within the last day requests carried X-Forwarded-For to a gateway with TRUSTED_PROXIES=0: "
        "it takes all clients behind that proxy for one address, whose limits they share."
    )
    fix = "Set TRUSTED_PROXIES to the number of your proxies in front: docs/deployment.md."
    return Check("proxies", "warn", says, fix)


def _transport(redis: Redis, given: Configured) -> Iterator[Check]:
    if (host := readable(redis.address)) is not None:
        says = f"Redis at {host} is reached without TLS: payloads and passwords can be read."
        yield Check("transport", given.grave, says, "Use rediss:// (docs/deployment.md).")


async def _sealed(redis: Redis, given: Configured) -> Check | None:
    missing: list[str] = []
    try:
        rings = [ring for purpose in NEED_KEYS if (ring := ring_of(given, purpose)) is not None]
    except KeyringError:
        return None  # told by the settings
    for ring in rings:
        missing += await missing_keks(redis, ring)
    if missing:
        says = f"Keys in Redis are sealed under {', '.join(missing)}, which the ring has not."
        return Check("sealed keys", "fail", says, "Put them back into the ring, not in front.")
    return Check("sealed keys", "ok", "The rings open what is stored.") if rings else None


async def _queue(redis: Redis, spec: QueueSpec) -> Check:
    name = f"queue {spec.name}"
    try:
        counts = await Queue(spec, redis).counts()
    except LayoutError as error:
        return Check(
            name, "fail", str(error), "Run the version that wrote it, or take an empty Redis."
        )
    fix = f"Start one: credstream worker --queues {spec.name}"
    if counts.workers == 0 and counts.waiting + counts.due:
        says = f"{counts.waiting + counts.due} jobs wait and nobody works on them."
        return Check(name, "fail", says, fix)
    if counts.workers == 0:
        return Check(name, "warn", "Nobody works on it.", fix)
    if counts.paused:
        fix = f"POST /queue/{spec.name}/resume, once what it waits for is done."
        return Check(name, "warn", f"It is paused; {counts.waiting} jobs wait.", fix)
    return Check(name, "ok", f"{counts.workers} workers, {counts.waiting} jobs wait.")
