"""Sealed payloads and results, as they lie in records.

A sealed job has the flag `S`. Its `data` is stored as `{"organizationId": ..., "sealed": text}`:
the organization stays readable, because tenancy is decided without keys. Its result is stored as
`{"sealed": text}`. What seals and opens is given by the process (`Redis.cipher`).
"""

from typing import Any, Protocol

import orjson

from schemas.identity import shown_id
from schemas.spec import QueueSpec
from streams.errors import InvalidValue, SealedError, SealingUnavailable

FLAG = "S"


class Cipher(Protocol):
    """Seals texts under a name (credentials.payload_cipher)."""

    def seal(self, plain: bytes, name: str) -> str:
        """`plain` as a text that opens only under `name`."""

    def open(self, sealed: str, name: str) -> bytes:
        """What was sealed under `name`. Raises KeyError when another key is needed, ValueError for
        what was changed or moved."""


def is_to_be_sealed(spec: QueueSpec, cipher: Cipher | None) -> bool:
    """Whether jobs of this queue are sealed by this process. Raises SealingUnavailable."""
    if spec.sealed == "always" and cipher is None:
        raise SealingUnavailable(
            f"queue {spec.name} seals its jobs, and this process has no key to seal with: set "
            "CREDSTREAM_DATA_KEKS_FILE. Nothing was stored"
        )
    return spec.sealed != "never" and cipher is not None


def seal_data(cipher: Cipher, queue: str, ref: str, payload: bytes, tenant: str) -> bytes:
    """A payload (JSON) as it is stored."""
    text = cipher.seal(payload, f"{queue}/{ref}/data")
    return orjson.dumps({"organizationId": tenant, "sealed": text})


def seal_result(cipher: Cipher | None, queue: str, ref: str, result: bytes) -> bytes:
    """A result (JSON) as it is stored. Raises SealingUnavailable."""
    if cipher is None:
        raise SealingUnavailable("this process has no key to seal a result with")
    return orjson.dumps({"sealed": cipher.seal(result, f"{queue}/{ref}/result")})


def open_stored(cipher: Cipher | None, queue: str, ref: str, part: str, stored: Any) -> Any:
    """The value of a sealed part (`data` or `result`), decoded; what was never sealed as it is.

    Raises SealedError where it cannot be opened, InvalidValue where no process can."""
    if not isinstance(stored, dict) or not isinstance(stored.get("sealed"), str):
        return stored
    if cipher is None:
        raise SealedError(
            f"{part} of job {shown_id(ref)} is sealed, and this process has no key to open it: set "
            "CREDSTREAM_DATA_KEKS_FILE"
        )
    try:
        return orjson.loads(cipher.open(stored["sealed"], f"{queue}/{ref}/{part}"))
    except KeyError as error:
        raise SealedError(f"{part} of job {shown_id(ref)} is sealed: {error.args[0]}") from None
    except ValueError as error:
        raise InvalidValue(f"{part} of job {shown_id(ref)} cannot be opened: {error}") from None


def show_stored(cipher: Cipher | None, queue: str, ref: str, part: str, stored: Any) -> Any:
    """As `open_stored`, for people: `{"sealed": true}`, with the organization, where it cannot be
    opened here."""
    try:
        return open_stored(cipher, queue, ref, part, stored)
    except (SealedError, InvalidValue):
        return stored | {"sealed": True}
