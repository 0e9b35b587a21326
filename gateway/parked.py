"""What a webhook that is parked waits for: its destination, in words for people."""

from datetime import UTC, datetime

from schemas.origins import origin_of
from schemas.queues.webhooks import SPEC
from schemas.spec import DAY_MS
from streams import Queue, Redis
from streams import destinations as store
from streams.destinations import Destination, Known
from streams.parking import Parking
from streams.why import Standing

WEBHOOKS = SPEC.name


async def parked_detail(redis: Redis, queue: Queue, job_id: str, stands: Standing) -> str | None:
    """Why a delayed webhook is not sent; None for every other job."""
    if queue.spec.name != WEBHOOKS or stands.due_ms is None:
        return None
    job = await queue.get(job_id)
    data = job.data if job is not None and isinstance(job.data, dict) else {}
    try:
        to = Destination(str(data["organizationId"]), origin_of(str(data["url"])))
    except (KeyError, ValueError):
        return None
    parking = Parking(redis, WEBHOOKS)
    ahead = await parking.place(to.id, job_id, stands.header.added, stands.due_ms)
    if ahead is None:
        return None
    known = await store.find(redis, to.id)
    held_up = "has no room" if known is None else _held_up(known, stands.now_ms)
    jobs = "1 job comes" if ahead == 1 else f"{ahead} jobs come"
    return f"It waits for its destination, {to.origin}, which {held_up}; {jobs} before it."


def _held_up(known: Known, now_ms: int) -> str:
    numbers = known.numbers
    if known.state == "disabled":
        return "is disabled: it will fail"
    if now_ms < numbers.get("not_before", 0) <= now_ms + DAY_MS:
        return f"asked to be left alone until {moment(numbers['not_before'])} (Retry-After)"
    if known.state == "open":
        until = moment(numbers["until"])
        return f"gets nothing until {until}, because {known.reason}: its circuit is open"
    if known.state == "half_open":
        return "gets one delivery to see whether it works again: its circuit is half open"
    return f"gets as many deliveries at once or in a time as it may ({known.running} run)"


def moment(at_ms: int) -> str:
    """A time as clients are told it: RFC 3339, UTC, milliseconds."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
