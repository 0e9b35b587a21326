"""`credstream issue`: what a vc-issuance job does, for people and scripts."""

import asyncio
import sys
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import orjson

from credstream.commands.client import JsonData
from credstream.sentences import EXIT_REFUSED, WrongUsage

if TYPE_CHECKING:
    from consumers.custody import SigningKey
    from consumers.processors.vc_issuance import Issuance
    from credentials.keys import PrivateKey

MAX_KEY_BYTES = 16 * 1024


class Moment(click.ParamType[datetime]):
    """A time: RFC 3339 with offset, or seconds since 1970. Whole seconds."""

    name = "TIME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Parse `value`; click's BadParameter says what is wrong with it."""
        moment = value if isinstance(value, datetime) else _moment(value)
        if moment is None:
            self.fail("must be a time such as 2030-01-31T00:00:00Z, or epoch seconds.", param, ctx)
        return moment


def _moment(text: str) -> datetime | None:
    try:
        if text.isdigit():
            return datetime.fromtimestamp(int(text), UTC)
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC).replace(microsecond=0) if moment.tzinfo else None
    except (ValueError, OverflowError, OSError):
        return None


@dataclass(frozen=True)
class KeyInHand:
    """A key that lies in a file, or was made a moment ago, in the place of the vault."""

    did: str
    key_id: str
    private: "PrivateKey"
    algorithm: str

    async def signing_key(self, did: str, _organization_id: str) -> "SigningKey":
        """The key, for its own DID. Raises CredentialError `issuer_unknown`."""
        from consumers.custody import SigningKey
        from credentials.errors import CredentialError

        if did != self.did:
            raise CredentialError(
                "issuer_unknown", f"The key is one of {self.did}, which is not the issuer."
            )
        return SigningKey(self.key_id, self.private, self.algorithm)

    async def assign(self, *_: Any) -> NoReturn:
        """A status list lives in an installation. Raises CredentialError `status_not_available`."""
        from credentials.errors import CredentialError

        raise CredentialError(
            "status_not_available",
            "A key in a file has no status lists: issue with a DID of the installation (--issuer "
            "without --issuer-key).",
        )


@click.command()
@click.argument("claims", type=JsonData(), required=False)
@click.option("--issuer-key", type=click.Path(path_type=Path), help="A private JWK to sign with.")
@click.option("--dev", is_flag=True, help="Sign with a key made for this one credential.")
@click.option("--issuer", help="The issuer's DID; the key's did:key when left out.")
@click.option("--organization", help="Whose DID it is, when its key lies in the vault.")
@click.option("--subject", help="The DID the claims are about.")
@click.option("--type", "type_", help="A term, such as UniversityDegreeCredential, or a URL.")
@click.option("--expires", metavar="TIME", help="When it expires: 2030-01-31T00:00:00Z.")
@click.option("--data-model", type=click.Choice(["1.1", "2.0"]), help="[default: VC_DATA_MODEL]")
@click.option("--credential", type=JsonData(), help="A whole credential instead of CLAIMS.")
@click.option(
    "--member",
    type=JsonData(),
    help='More members of a vc-issuance job, such as {"status": ["revocation"]}.',
)
@click.option("--clock", type=Moment(), help="When it is issued; now when left out.")
@click.option("--jwt", is_flag=True, help="Print the token and nothing else.")
def issue(claims: dict[str, Any] | None, **options: Any) -> None:
    """Issue a credential about CLAIMS (JSON, @file, or - for standard input).

    The key is a file's (--issuer-key), a new one (--dev), or else the one that the installation at
    REDIS_URL keeps for --issuer. Prints {vcJwt, credentialId, issuedAt} as JSON.

    Exit codes: 0 issued, 1 refused ({error, message}), 2 wrong usage, 3 no Redis there.
    """
    from credentials.errors import CredentialError

    try:
        answer = asyncio.run(_issue(claims, options))
    except CredentialError as error:
        _print({"error": error.code, "message": str(error)})
        sys.exit(EXIT_REFUSED)
    if options["jwt"]:
        click.echo(answer["vcJwt"])
    else:
        _print(answer)


def _print(answer: Any) -> None:
    click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2))


async def _issue(claims: dict[str, Any] | None, options: dict[str, Any]) -> dict[str, Any]:
    from consumers.processors.vc_issuance import Occasion

    async with AsyncExitStack() as stack:
        key = _key_in_hand(options)
        issuance = await _vault(stack) if key is None else _offline(key)
        request = _request(claims, options, key)
        issued = options["clock"] or datetime.fromtimestamp(int(time.time()), UTC)
        identifier = uuid.uuid4().urn
        return await issuance.issue(
            request, Occasion(issued, lambda _: identifier, ("credstream issue", identifier))
        )


def _request(claims: dict[str, Any] | None, options: dict[str, Any], key: KeyInHand | None) -> Any:
    """The job data. Raises CredentialError `invalid_payload`, naming the member."""
    from pydantic import ValidationError

    from credentials.errors import CredentialError
    from schemas.fields import first_fault
    from schemas.queues.vc_issuance import VcIssuance

    given = {
        "issuerDid": options["issuer"] or (key.did if key else None),
        "subjectDid": options["subject"],
        "credentialType": options["type_"],
        "claims": claims,
        "expirationDate": options["expires"],
        "dataModel": options["data_model"],
        "credential": options["credential"],
    }
    data = {name: value for name, value in given.items() if value is not None}
    tenant = {"organizationId": options["organization"] or "command-line", "userId": "command-line"}
    try:
        return VcIssuance.model_validate({**tenant, **data, **(options["member"] or {})})
    except ValidationError as error:
        raise CredentialError("invalid_payload", first_fault(error)) from None


def _key_in_hand(options: dict[str, Any]) -> KeyInHand | None:
    """None: the key lies in the vault."""
    from credentials import did_key, keys
    from credentials.settings import CredentialSettings

    if options["dev"] and options["issuer_key"]:
        raise click.UsageError("--dev and --issuer-key exclude each other.")
    kid = None
    if options["dev"]:
        private = keys.generate(keys.DEFAULT_KEY_TYPE)
    elif options["issuer_key"]:
        private, kid = _read_key(options["issuer_key"])
    elif options["issuer"] and options["organization"]:
        return None
    else:
        raise click.UsageError(
            "Say which key is to sign: --issuer-key FILE, --dev, or --issuer with --organization."
        )
    public = keys.public_jwk(private)
    did = options["issuer"] or did_key.encode(public)
    if options["dev"]:
        click.echo(f"Signed with a key made for this one credential: {did}", err=True)
    algorithm = keys.algorithm_of(public, CredentialSettings().ed25519_algorithm)
    return KeyInHand(did, _key_id(did, kid, public), private, algorithm)


def _key_id(did: str, kid: str | None, public: dict[str, str]) -> str:
    """The absolute name of the key; a DID that is a key knows it by itself."""
    from credentials import did_jwk, did_key
    from credentials.errors import DidError

    same = True
    try:
        if did.startswith("did:key:"):
            same, kid = did_key.decode(did) == public, did_key.verification_method(did)
        elif did.startswith("did:jwk:"):
            held = did_jwk.decode(did)
            same, kid = {name: held.get(name) for name in public} == public, f"{did}#0"
    except DidError as error:
        raise WrongUsage(f"--issuer: {error}") from None
    if not same:
        raise WrongUsage("--issuer is a DID of another key than the one in --issuer-key.")
    if kid is None or not kid.startswith(f"{did}#"):
        raise WrongUsage(
            f"The key needs a `kid` that begins with {did}#, its name in the document."
        )
    return kid


def _read_key(path: Path) -> tuple["PrivateKey", str | None]:
    """The key and its `kid`. What is wrong is told without repeating any of it."""
    from credentials.keys import load_private
    from credentials.strict_json import NotJson, load_object

    try:
        with path.open("rb") as file:
            jwk = load_object(file.read(MAX_KEY_BYTES))
        kid = jwk.get("kid")
        return load_private(jwk), kid if isinstance(kid, str) else None
    except OSError as error:
        raise WrongUsage(f"{path} cannot be read: {error.strerror}.") from None
    except (NotJson, ValueError):
        raise WrongUsage(
            f"{path} is not a private JWK of type Ed25519, P-256, P-384 or secp256k1."
        ) from None


def _offline(key: KeyInHand) -> "Issuance":
    from consumers.processors.vc_issuance import Issuance
    from credentials.contexts import Contexts
    from credentials.settings import CredentialSettings

    settings = CredentialSettings()
    return Issuance(key, key, Contexts.load(settings.contexts_dir), settings)


async def _vault(stack: AsyncExitStack) -> "Issuance":
    """With the keys of the installation, as its workers have them."""
    from consumers.processor import Resources
    from consumers.processors.vc_issuance import open_issuance
    from consumers.settings import WorkerSettings
    from streams import connect

    settings = WorkerSettings()
    redis = connect(None)
    stack.push_async_callback(redis.close)
    resources = Resources(redis, settings.data_dir, settings.production)
    return await stack.enter_async_context(open_issuance(resources))
