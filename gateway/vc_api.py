"""The doorway of the W3C CCG VC API (https://w3c-ccg.github.io/vc-api/): issue and verify.

What is asked for becomes a job of high priority, and the answer waits for its end. Shapes are those
of the VC API. JOSE secures: an EnvelopedVerifiableCredential for data model 2.0, a JWT for 1.1.
"""

import asyncio
import contextlib
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from credentials.datamodel import FIRST_CONTEXT
from credentials.envelopes import unwrap
from credentials.errors import CredentialError
from gateway.answer_shapes import Issued, Verification
from gateway.body import EMPTY, read_json
from gateway.errors import Fault, InvalidJob, Kind, Refusal
from gateway.keys import DIRECTORY, REDIS, SETTINGS
from gateway.principal import Scope, principal_of
from gateway.remembered import new_id, planned
from gateway.routes import TRACEPARENT, Route
from gateway.submit import JobTooBig, Way, submit_one
from gateway.tenancy import organization_of
from gateway.tracing import trace_of
from gateway.vc_results import verification
from gateway.waiting import READER, WAIT_MAX_S, wait_for_outcome
from schemas.fields import NO_TENANT
from schemas.job import JobPriority, JobView, State
from streams import vault
from streams.errors import CredstreamError

CREDENTIALS_MAX = 20
"""In a presentation that is not secured itself; each is a job."""
Json = dict[str, Any]


class BadRequest(Refusal):
    """Not what the VC API takes, or nothing that can be secured or verified here."""

    kind = Kind(400, "invalid_vc_request", "The request cannot be processed")


class CredentialRefused(Refusal):
    """A credential that is not issued, with the code of the job."""

    def __init__(self, detail: str, code: str | None) -> None:
        super().__init__(detail)
        self.kind = Kind(400, code or "credential_refused", "The credential is not issued")


class NotDone(Refusal):
    """The job failed for a reason that is not the request's."""

    kind = Kind(503, "not_done", "It could not be done now")


class NotInTime(Refusal):
    """No worker has done it while the client waited."""

    kind = Kind(504, "not_in_time", "It was not done in time")


async def issue(request: web.Request) -> web.Response:
    """POST /credentials/issue: `{credential, options?}` -> 201 `{verifiableCredential}`."""
    body, options = await _body(request)
    credential = body.get("credential")
    if not isinstance(credential, dict):
        raise _bad("credential", "must be a credential without a proof")
    default = request.app[SETTINGS].vc_api_issuer
    if "issuer" not in credential and default is not None:
        credential = credential | {"issuer": default}
    data = {
        "credential": credential,
        "organizationId": await _issuing_organization(request, options, credential),
        "userId": _user(request, options),
    }
    if "status" in options:
        data["status"] = options["status"]
    job = await _run(request, "vc-issuance", data, await planned(request, new_id))
    if job.state is State.FAILED:
        error = job.errors[-1]
        if error.reason == "rejected":
            raise CredentialRefused(error.message, error.code)
        raise NotDone("The credential was not issued: the job failed. Try again.")
    token = job.returnvalue["vcJwt"]
    return _answer({"verifiableCredential": _secured(credential, token)}, 201)


async def verify_credential(request: web.Request) -> web.Response:
    """POST /credentials/verify: `{verifiableCredential, options?}` -> 200 `{verified, ...}`."""
    body, options = await _body(request)
    given = body.get("verifiableCredential")
    result = await _verify(request, options, {"vcJwt": _token(given, "verifiableCredential")})
    answer = verification(result)
    if options.get("returnCredential") is True:
        answer["verifiableCredential"] = given
    return _answer(answer)


async def verify_presentation(request: web.Request) -> web.Response:
    """POST /presentations/verify: `{verifiablePresentation | presentation, options?}` -> 200."""
    body, options = await _body(request)
    if "presentation" in body and "verifiablePresentation" not in body:
        given = body["presentation"]
        answer = await _verify_contents(request, options, given)
    else:
        given = body.get("verifiablePresentation")
        token = _token(given, "verifiablePresentation")
        data = {"vcJwt": token, "expect": "presentation", **_asked(options)}
        result = await _verify(request, options, data)
        answer = verification(result)
        answer["presentationResult"] = {"verified": answer["verified"]}
        inner = (result.get("claims") or {}).get("verifiableCredential", [])
        # All of them are valid.
        verdicts = [verification(one | {"valid": True}) for one in inner]
        answer["credentialResults"] = verdicts
        answer["warnings"] += [warning for verdict in verdicts for warning in verdict["warnings"]]
    if options.get("returnPresentation") is True:
        answer["verifiablePresentation"] = given
    return _answer(answer)


async def _verify_contents(request: web.Request, options: Json, presentation: Any) -> Json:
    """Of a presentation that is not secured itself: its credentials, each on its own."""
    if not isinstance(presentation, dict) or "proof" in presentation:
        raise _bad("presentation", "must be a presentation without a proof")
    contexts = presentation.get("@context")
    if not isinstance(contexts, list) or contexts[:1] != [FIRST_CONTEXT["2.0"]]:
        raise _bad("presentation/@context", f"must begin with {FIRST_CONTEXT['2.0']}")
    types = presentation.get("type")
    if "VerifiablePresentation" not in (types if isinstance(types, list) else [types]):
        raise _bad("presentation/type", "must name VerifiablePresentation")
    if options.get("challenge") is not None or options.get("domain") is not None:
        raise _bad("options", "cannot ask for a challenge or a domain: nothing is signed here")
    inner = presentation.get("verifiableCredential", [])
    inner = inner if isinstance(inner, list) else [inner]
    if len(inner) > CREDENTIALS_MAX:
        raise _bad("presentation/verifiableCredential", f"may hold {CREDENTIALS_MAX} credentials")
    place = "presentation/verifiableCredential"
    tokens = [_token(one, f"{place}/{index}") for index, one in enumerate(inner)]
    verdicts = [
        verification(result)
        for result in await asyncio.gather(
            *(_verify(request, options, {"vcJwt": token}) for token in tokens)
        )
    ]
    answer = verification({"valid": True})
    answer["verified"] = all(verdict["verified"] for verdict in verdicts)
    answer["warnings"] = ["The presentation is not secured: nobody vouches for its holder."]
    for name in ("errors", "problemDetails", "warnings"):
        answer[name] += [item for verdict in verdicts for item in verdict[name]]
    return answer | {"credentialResults": verdicts}


async def _verify(request: web.Request, options: Json, data: Json) -> Json:
    """The result of a verification job."""
    named = options.get("organizationId")
    tenant = principal_of(request).organization_id is not None
    owner = organization_of(request, named) if tenant or named is not None else NO_TENANT
    common = {"organizationId": owner, "userId": _user(request, options)}
    job = await _run(request, "vc-verification", data | common)
    if job.state is State.FAILED:
        raise NotDone("It was not verified: the job failed. Try again.")
    result: Json = job.returnvalue
    return result


async def _run(request: web.Request, name: str, data: Json, job_id: str | None = None) -> JobView:
    """A job from submission to end. Raises BadRequest, NotInTime, and as the engine does."""
    listed = await request.app[DIRECTORY].find(name)
    options = {"priority": JobPriority.HIGH, "expires": WAIT_MAX_S * 1_000}
    way = Way(trace_of(request.headers.get("traceparent")), refs=[job_id] if job_id else ())
    with request.app[READER].follow(name) as tape:
        place = await tape.now()
        try:
            _, ref, _ = await submit_one(listed, {"data": data, "options": options}, way)
        except (InvalidJob, JobTooBig) as error:
            found = [Fault(one.pointer.removeprefix("/data"), one.detail) for one in error.faults]
            raise BadRequest("`errors` says what does not fit.", found) from None
        job = await wait_for_outcome(request, tape, listed.queue, ref, place, WAIT_MAX_S)
    if job is None or (job.errors and job.errors[-1].reason == "expired"):
        with contextlib.suppress(CredstreamError):  # nobody will fetch what it may still bring
            await listed.queue.cancel(ref)
        raise NotInTime(f"No worker of {name} has done it in {WAIT_MAX_S} seconds.")
    return job


async def _body(request: web.Request) -> tuple[Json, Json]:
    body = await read_json(request)
    if body is EMPTY or not isinstance(body, dict):
        raise BadRequest("Send a JSON object.")
    options = body.get("options")
    if options is not None and not isinstance(options, dict):
        raise _bad("options", "must be an object")
    return body, options or {}


async def _issuing_organization(request: web.Request, options: Json, credential: Json) -> str:
    """Whose credential it is: named, or the principal's, or of whom the issuer belongs to."""
    named = options.get("organizationId")
    if named is not None or principal_of(request).organization_id is not None:
        return organization_of(request, named)
    issuer = credential.get("issuer")
    did = issuer.get("id") if isinstance(issuer, dict) else issuer
    if not isinstance(did, str):
        raise _bad("credential/issuer", "must be a DID, or an object with a DID as its id")
    held = await vault.find(request.app[REDIS], did)
    if held is None:
        raise _bad("credential/issuer", "must be a DID whose key this installation holds")
    return held.organization_id


def _user(request: web.Request, options: Json) -> Any:
    return options.get("userId", principal_of(request).name)


def _asked(options: Json) -> Json:
    """What a presentation must repeat."""
    asked: Json = {}
    if (challenge := options.get("challenge")) is not None:
        asked["nonce"] = challenge
    if (domain := options.get("domain")) is not None:
        is_did = isinstance(domain, str) and domain.startswith("did:")
        asked["verifierDid" if is_did else "audience"] = domain
    return asked


def _token(given: Any, place: str) -> str:
    """What a job is to verify: the JWT that was handed in, as it is or out of its envelope."""
    if isinstance(given, str) and given:
        return given
    if not isinstance(given, dict):
        raise _bad(place, "must be an enveloped credential or presentation, or a JWT")
    if "proof" in given:
        raise _bad(f"{place}/proof", "is not supported: only JOSE secures things here")
    try:
        return unwrap(given, "presentation" if "Presentation" in place else "credential")
    except CredentialError as error:
        if error.code == "TYPE_NOT_ACCEPTED":  # well-formed: that is a verdict, and the job's
            return orjson.dumps(given).decode()
        raise BadRequest(str(error), [Fault(f"/{place}", str(error))]) from None


def _secured(credential: Json, token: str) -> Any:
    contexts = credential.get("@context")
    if isinstance(contexts, list) and contexts[:1] == [FIRST_CONTEXT["2.0"]]:
        return {
            "@context": [FIRST_CONTEXT["2.0"]],
            "id": f"data:application/vc+jwt,{token}",
            "type": "EnvelopedVerifiableCredential",
        }
    return token


def _answer(value: Json, status: int = 200) -> web.Response:
    headers = {"Cache-Control": "no-store", "Content-Type": "application/json"}
    return web.Response(status=status, body=orjson.dumps(value), headers=headers)


def _bad(place: str, detail: str) -> BadRequest:
    return BadRequest(f"{place} {detail}.", [Fault(f"/{place}", detail)])


_KEPT: Any = {"body": dict, "body_bytes": None, "headers": (TRACEPARENT,), "is_held": True}
_post: Any = partial(Route, "POST", needs=Scope.SUBMIT, **_KEPT)
ROUTES = (
    _post("/credentials/issue", handler=issue, answer=Issued, statuses=(201,), secret=True),
    _post("/credentials/verify", handler=verify_credential, answer=Verification),
    _post("/presentations/verify", handler=verify_presentation, answer=Verification),
)
