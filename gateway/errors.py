"""From an exception to an RFC 9457 problem: one dictionary, one middleware.

Every 4xx and 5xx leaves as `application/problem+json` with type, title, status, detail,
instance, success (false), code, errors [{pointer, detail}] and requestId. What the engine or
Redis said is logged, never sent: only exceptions whose words are written for clients may speak.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from types import MappingProxyType

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestPayloadError

from gateway.headers import CURRENT, request_id_of, stamp
from gateway.keys import CONTINUE, LIFE, REQUEST_ID
from gateway.refusals import (
    BadQuery,
    BodyTooBig,
    CrossSite,
    DestinationNotFound,
    EncodedBody,
    Fault,
    ForeignHost,
    HeadersTooLarge,
    InvalidJob,
    InvalidRequest,
    JobNotFound,
    KeysUnavailable,
    Kind,
    MalformedBody,
    NotHttp,
    NotJson,
    NotReady,
    OtherOrganization,
    QueueNotFound,
    Refusal,
    SlowBody,
    TargetTooLong,
)
from streams import errors as engine

__all__ = [
    "KINDS",
    "TYPE_PREFIX",
    "UNEXPECTED",
    "BadQuery",
    "BodyTooBig",
    "CrossSite",
    "DestinationNotFound",
    "EncodedBody",
    "Fault",
    "ForeignHost",
    "HeadersTooLarge",
    "InvalidJob",
    "InvalidRequest",
    "JobNotFound",
    "KeysUnavailable",
    "Kind",
    "MalformedBody",
    "NotHttp",
    "NotJson",
    "NotReady",
    "OtherOrganization",
    "QueueNotFound",
    "Refusal",
    "SlowBody",
    "TargetTooLong",
    "bare",
    "kind_of",
    "problem",
    "problems",
    "tell",
]

logger = logging.getLogger(__name__)

TYPE_PREFIX = "urn:credstream:problem:"


KINDS: Mapping[type[BaseException], Kind] = MappingProxyType(
    {
        NotHttp: Kind(400, "bad_request", "The request cannot be read"),
        MalformedBody: Kind(400, "malformed_body", "The body is not acceptable JSON"),
        RequestPayloadError: Kind(
            400, "malformed_body", "The body is broken", "The request body is not well-formed HTTP."
        ),
        BadQuery: Kind(400, "invalid_query", "A query parameter is not valid"),
        engine.BadPage: Kind(
            400,
            "page_too_deep",
            "The page lies too deep",
            "Pages reach 10000 jobs deep; narrow the search or clean the queue.",
        ),
        ForeignHost: Kind(403, "host_not_allowed", "This Host is not served"),
        CrossSite: Kind(403, "cross_site", "Cross-site requests are refused"),
        OtherOrganization: Kind(403, "other_organization", "This is another organization's"),
        QueueNotFound: Kind(404, "queue_not_found", "There is no such queue"),
        JobNotFound: Kind(404, "job_not_found", "There is no such job"),
        DestinationNotFound: Kind(404, "destination_not_found", "There is no such destination"),
        engine.NotFound: Kind(
            404, "job_not_found", "There is no such job", "The queue holds no job with this id."
        ),
        web.HTTPNotFound: Kind(
            404, "path_not_found", "There is nothing here", "No endpoint has this path."
        ),
        web.HTTPMethodNotAllowed: Kind(
            405,
            "method_not_allowed",
            "The method is not allowed",
            "This path exists, but not for this method; see Allow.",
        ),
        SlowBody: Kind(408, "body_timeout", "The body took too long"),
        engine.QueueInUse: Kind(409, "queue_in_use", "The queue is in use"),
        engine.WrongState: Kind(409, "wrong_state", "The job is in another state"),
        BodyTooBig: Kind(413, "body_too_large", "The body is too large"),
        engine.TooBig: Kind(
            413,
            "payload_too_large",
            "The job is too large",
            "The data of a job is above the limit.",
        ),
        engine.InvalidValue: Kind(
            422,
            "invalid_value",
            "A value cannot be stored",
            "A value is no JSON, or is nested too deeply to be stored.",
        ),
        NotJson: Kind(415, "unsupported_media_type", "The body must be JSON"),
        EncodedBody: Kind(415, "unsupported_encoding", "Encoded bodies are not accepted"),
        web.HTTPExpectationFailed: Kind(
            417, "expectation_failed", "The expectation is unknown", "Only 100-continue is known."
        ),
        InvalidJob: Kind(422, "invalid_job", "The job does not fit"),
        InvalidRequest: Kind(422, "invalid_request", "The request does not fit"),
        NotReady: Kind(503, "not_ready", "Not ready"),
        KeysUnavailable: Kind(503, "keys_unavailable", "The signing keys cannot be opened here"),
        engine.Refused: Kind(
            500,
            "internal_error",
            "Something went wrong here",
            "The data store refused an operation; the operator's log says which.",
        ),
        engine.EncodingError: Kind(
            500,
            "internal_error",
            "Something went wrong here",
            "A value could not be sent to the data store; the operator's log says which.",
        ),
        engine.BacklogFull: Kind(429, "queue_full", "The queue is full"),
        engine.Full: Kind(
            503,
            "storage_full",
            "The storage is full",
            "There is no room for submissions now; everything else goes on. Try again later.",
        ),
        engine.NotDurable: Kind(
            503,
            "durability_not_met",
            "Too few copies",
            "Too few replicas have this yet. Send it again with the same Idempotency-Key.",
        ),
        engine.SealingUnavailable: Kind(503, "sealing_unavailable", "Jobs cannot be sealed"),
        engine.SealedError: Kind(503, "sealing_unavailable", "Sealed jobs cannot be read here"),
        engine.Unavailable: Kind(
            503,
            "storage_unavailable",
            "The storage is not available",
            "The storage cannot be reached now; nothing is known to be stored. Try again.",
        ),
        engine.LayoutError: Kind(
            503,
            "storage_layout",
            "The stored data has another layout",
            "Another version has written the stored data, and this gateway cannot read it.",
        ),
    }
)
UNEXPECTED = Kind(
    500,
    "internal_error",
    "Something went wrong here",
    "The request failed for a reason of ours; quote the requestId when you report it.",
)


def kind_of(error: BaseException) -> Kind:
    """The entry of the nearest class; HTTP errors without one are told by their status."""
    if isinstance(error, Refusal) and error.kind is not None:
        return error.kind
    for cls in type(error).__mro__:
        if cls in KINDS:
            return KINDS[cls]
    if isinstance(error, web.HTTPException) and error.status >= HTTPStatus.BAD_REQUEST:
        return bare(error.status)
    return UNEXPECTED


def bare(status: int) -> Kind:
    """A kind for a status that has no class of ours."""
    phrase = HTTPStatus(status).phrase
    return Kind(status, phrase.lower().replace(" ", "_"), phrase, f"{phrase}.")


def problem(
    kind: Kind, *, instance: str, request_id: str, error: BaseException | None = None
) -> web.Response:
    """The response that tells `kind`; `error` adds its faults, Allow and Retry-After."""
    body = {
        "type": kind.type or TYPE_PREFIX + kind.code,
        "title": kind.title,
        "status": kind.status,
        "detail": kind.detail or str(error),
        "instance": instance,
        "success": False,
        "code": kind.code,
        "errors": [asdict(fault) for fault in error.faults] if isinstance(error, Refusal) else [],
        "requestId": request_id,
    }
    response = web.Response(
        status=kind.status, body=orjson.dumps(body), content_type="application/problem+json"
    )
    stamp(response, request_id)
    if isinstance(error, Refusal):
        response.headers.update(error.headers)
    if isinstance(error, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = error.headers["Allow"]
    if isinstance(error, engine.Unavailable):
        response.headers["Retry-After"] = str(math.ceil(error.retry_after_ms / 1_000))
    if isinstance(error, SlowBody | BodyTooBig):
        response.force_close()
    return response


def tell(request: web.BaseRequest, error: BaseException, request_id: str) -> web.Response:
    """The problem for `error`; what clients must not see is logged under the request id."""
    kind = kind_of(error)
    if kind is UNEXPECTED:
        logger.error("request %s failed", request_id, exc_info=error)
    elif kind.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        why = f" ({error.__cause__})" if error.__cause__ and str(error.__cause__) else ""
        logger.warning("request %s refused: %s: %s%s", request_id, kind.code, error, why)
    return problem(kind, instance=request.rel_url.raw_path, request_id=request_id, error=error)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost: gives the request its id, and every error the shape of a problem."""
    request_id = request[REQUEST_ID] = request_id_of(request)
    CURRENT.set(request_id)
    try:
        response = await handler(request)
    except Exception as error:
        if isinstance(error, ConnectionError) and request.transport is None:
            raise  # the client has left: nobody to tell
        response = tell(request, error, request_id)
    stamp(response, request_id)
    if request.app[LIFE].draining or request.get(CONTINUE):
        response.force_close()
    return response
