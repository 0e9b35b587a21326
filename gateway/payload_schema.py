"""The JSON Schema that workers registered for a queue, against what is submitted to it.

The schema is theirs, the payload anybody's: a check is bounded in steps, and what cannot be checked
within a moment is checked beside the event loop, one at a time.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any, Final

from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from credentials.metered import Meter, TooCostly, faults, metered
from gateway.errors import Kind, Refusal

logger = logging.getLogger(__name__)

FAULTS_MAX: Final = 10
VALUES_AT_ONCE: Final = 500
"""In all payloads of a request: what is looked at in the event loop, a long text for more."""
STEPS_AT_ONCE: Final = 5_000
STEPS_MAX = 600_000
"""For all payloads of a request; about a second of a thread."""
Json = dict[str, Any]
Mismatch = tuple[int, ValidationError]
"""The index of a payload, and one thing that does not fit in it."""


class TooCostlyToCheck(Refusal):
    """The payload may fit or not: finding out would take too long."""

    kind = Kind(422, "payload_too_costly", "The job takes too long to check")


class PayloadSchema:
    """One registered schema, compiled. Make it with `compiled`."""

    def __init__(self, queue: str, validator: Any) -> None:
        self._queue = queue
        self._validator = validator
        # Two checks in threads would only take the processor from each other.
        self._gate = asyncio.Semaphore(1)

    async def mismatches(self, payloads: Sequence[Json]) -> list[Mismatch]:
        """What it has against payloads, at most ten things against one.

        Raises TooCostlyToCheck, when nothing was found until the steps were used up.
        """
        if _is_small(payloads):
            with contextlib.suppress(TooCostly):  # beside the event loop, then
                return self._all(payloads, STEPS_AT_ONCE)
        try:
            async with self._gate:
                return await asyncio.to_thread(self._all, payloads, STEPS_MAX)
        except TooCostly:
            raise TooCostlyToCheck(
                f"Nothing was queued: to check it against the schema of {self._queue} takes too "
                "long. Send fewer or smaller values."
            ) from None

    def at_once(self, payloads: Sequence[Json]) -> list[Mismatch]:
        """As much of that as can be said in a moment."""
        with contextlib.suppress(TooCostly):
            return self._all(payloads, STEPS_AT_ONCE) if _is_small(payloads) else []
        return []

    def _all(self, payloads: Sequence[Json], steps: int) -> list[Mismatch]:
        found: list[Mismatch] = []
        for index, payload in enumerate(payloads):
            meter = Meter(payload, steps, lenient=True)
            try:
                found += [(index, fault) for fault in self._judge(payload, meter)]
            except TooCostly:
                if found:
                    break
                raise
            steps = meter.left
        return found

    def _judge(self, payload: Json, meter: Meter) -> list[ValidationError]:
        """A schema that cannot be followed to its end (a reference to nowhere or to itself) has
        nothing against anything: its author's mistake must not close the queue."""
        try:
            return faults(self._validator, payload, meter, FAULTS_MAX)
        except (Unresolvable, RecursionError) as error:
            logger.warning("queue %s: its schema cannot be followed: %s", self._queue, error)
            return []


def compiled(queue: str, schema: Json | None) -> PayloadSchema | None:
    """Compiled once per schema. One that is no schema checks nothing, and says so in the log."""
    if schema is None:
        return None
    cls = validator_for(schema, default=Draft202012Validator)
    try:
        cls.check_schema(schema)
    except SchemaError as error:
        logger.warning("queue %s: its schema is not a JSON Schema: %s", queue, error.message)
        return None
    # An empty registry: a schema from Redis must not make the gateway fetch addresses.
    return PayloadSchema(queue, metered(cls)(schema, registry=Registry()))


def _is_small(payloads: Sequence[Any]) -> bool:
    """Whether they hold few values. Looks at no more than that."""
    left = VALUES_AT_ONCE
    waiting = list(payloads[: left + 1])
    while waiting and left > 0:
        value = waiting.pop()
        left -= 1 + len(value) // 64 if isinstance(value, str) else 1
        if isinstance(value, dict | list):
            if len(value) > left:
                return False
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return not waiting and left > 0
