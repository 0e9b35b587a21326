"""For every template the data it can be given, in every shape: made from the models of that data.

A page that is added needs a row in TEMPLATES; the test over all templates fails without one.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from gateway.access import KeyInfo
from gateway.answer_shapes import CredentialStatus, WebhookDestination, WebhookDestinationDetails
from gateway.audit import AuditRecord
from gateway.dashboard.add import OPTIONS
from gateway.dashboard.add_form import Field
from gateway.dashboard.attempts import AttemptRow
from gateway.dashboard.audit import FILTERS
from gateway.dashboard.causes import Cause
from gateway.dashboard.dids import keys_of
from gateway.dashboard.job import ACTIONS, embedded_text, timeline
from gateway.dashboard.keys import MEANINGS
from gateway.dashboard.overview import Card, total
from gateway.dashboard.queue import FITTING, Shown
from gateway.dashboard.terms import Terms
from gateway.dashboard.webhooks import SCHEDULES
from gateway.dashboard.workers import JOBS_SHOWN, Crew
from gateway.directory import Listed
from gateway.errors import KINDS, UNEXPECTED, bare
from gateway.mail_shapes import CapturedMail, CapturedMessage, SuppressionEntry
from gateway.principal import ROLES
from gateway.why import Why
from gateway.workers import WorkerInfo
from schemas.job import JobView, State
from streams import Counts, Queue, Redis
from streams.canaries import Canary, Outcome, Progress
from streams.destinations import Destination
from streams.dids import HostedDid
from streams.health import Health
from streams.minutes import Tally
from tests.dashboard.shapes import JSON, LONG, ODD, instances, several, varied, wire

Data = Iterator[dict[str, Any]]
TEXTS = ["word", "", LONG, ODD]
TEXT_OR_NONE = [*TEXTS, None]
FLAGS = [False, True]
COUNTS = [3, 0, 1, 2**53]
TURNING: dict[str, Any] = {"start": [0, 50], "newer": [None, "?start=0"], "older": [None, "?x"]}
RECORDS: list[dict[str, Any]] = [
    {"number": 1, "status": 200, "operator": {"address": "192.0.2.1"}},
    {"number": 1, "status": None},
    {},
    *({name: value} for name in ("attempt", "number", "started", "status") for value in JSON),
    *({"operator": value} for value in JSON),
    {"outcome": ODD, "code": LONG},
]


def problem() -> Data:
    statuses = [status for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST]
    kinds = [*KINDS.values(), UNEXPECTED, *map(bare, statuses)]
    return varied({"kind": kinds, "detail": TEXTS, "request_id": ["r1"]})


def login() -> Data:
    texts = {"next": TEXTS, "provider": TEXT_OR_NONE, "problem": TEXT_OR_NONE}
    return varied({**texts, "is_open": FLAGS, "ended": FLAGS})


def queue() -> Data:
    given = [{}, {"q": ODD}, dict.fromkeys(Terms.NAMES, LONG)]
    for state in State:
        yield from varied(
            {
                "name": ["emails", LONG],
                "queue_path": ["/dashboard/queue/emails"],
                "counts": [None, *instances(Counts)],
                "state": [state],
                "states": [list(State)],
                "rows": several(instances(Shown)),
                "given": given,
                "scanned": COUNTS,
                "verbs": [[str(verb) for verb in FITTING[state]], []],
                "paged": FLAGS,
                "first": ["/x"],
                "following": [None, "/y"],
            }
        )


def overview() -> Data:
    tallies = [Tally(), Tally(Counter(c=5)), Tally(Counter(f=5, w3=2, d1=1))]
    cards = [Card("emails", one, [Tally()] * 30, Tally()) for one in instances(Counts)]
    cards += [Card(ODD, Counts(0, 0, 0, 0, 0), [one] * 30, total([one] * 30)) for one in tallies]
    states = ("waiting", "active", "delayed", "completed", "failed", "workers")
    return varied(
        {
            "cards": several(cards),
            "rows": [[], cards, cards[:1]],
            "count": COUNTS,
            "redis": [None, *instances(Health)],
            "unattended": [[], ["emails"], ["a", ODD]],
            "sums": [dict.fromkeys(states, 0), dict.fromkeys(states, 2**53)],
        }
    )


def job() -> Data:
    for state in State:
        for view in wire(JobView, state=[state]):
            yield _job(view, state)
        for record in RECORDS:
            yield _job(wire(JobView, state=[state])[0], state, timeline=record)
        for changes in varied(
            {
                "logs": [[], ["a line", ODD, LONG]],
                "why": [None, *wire(Why)],
                "token": [None, *({"header": one, "claims": one} for one in JSON)],
                "callbacks": several(wire(JobView)),
            }
        ):
            yield _job(wire(JobView, state=[state])[0], state) | changes


def _job(view: dict[str, Any], state: State, timeline: dict[str, Any] | None = None) -> Any:
    return {
        "job": view,
        "state": state,
        "queue_path": "/dashboard/queue/emails",
        "actions": ACTIONS[state],
        "logs": [],
        "why": None,
        "token": None,
        "callbacks": [],
        "embedded": {name: embedded_text(view[name]) for name in ("data", "returnvalue")},
        "attempts": _timeline(view, timeline),
    }


def _timeline(view: dict[str, Any], record: dict[str, Any] | None) -> Any:
    return timeline(view, [] if record is None else [record])


def dead() -> Data:
    causes = [one for one in instances(Cause) if one.count]
    for found in several(causes):
        grouped = sum(one.count for one in found)
        yield from varied(
            {
                "causes": [found],
                "hidden": COUNTS,
                "total": COUNTS,
                "grouped": [grouped],
                "partly": FLAGS,
                "scanned": COUNTS,
                "count": COUNTS,
                "queues": [{"emails": 3}, {}, {"a": 1, ODD: 2}],
                "chosen": [None, "emails"],
            }
        )


def cause() -> Data:
    return varied({"cause": instances(Cause), "samples": several(wire(JobView))})


def canary() -> Data:
    outcomes = instances(Canary, outcome=list(Outcome), jobs=[["a"], [], ["a"] * 500])
    return varied(
        {
            "canary": outcomes,
            "progress": instances(Progress),
            "rest": COUNTS,
            "samples": several(wire(JobView)),
        }
    )


def add(redis: Redis) -> Data:
    kinds = ["text", "long", "integer", "number", "boolean", "choice", "json"]
    fields = instances(Field, kind=kinds, choices=[(), ("a", ODD)])
    listed = [Listed("emails", Queue("emails", redis)), *_product(redis)]
    texts = [{}, {"": ODD, "word": LONG}, {"organizationId": ODD}]
    return varied(
        {
            "queue": listed,
            "fields": several(fields),
            "texts": texts,
            "options": [OPTIONS],
            "given": [{}, {"backoff": ODD}],
            "name": TEXTS,
            "source": TEXT_OR_NONE,
            "hidden": [[], ["a", ODD]],
            "own": TEXT_OR_NONE,
        }
    )


def add_choose(redis: Redis) -> Data:
    custom = {"mine": Listed("mine", Queue("mine", redis))}
    product = {one.name: one for one in _product(redis)}
    return varied({"queues": [custom, {}, custom | product]})


def _product(redis: Redis) -> list[Listed]:
    names = ("emails", "webhooks", "vc-issuance")
    queues = [Queue(name, redis) for name in names]
    return [Listed(queue.name, queue, queue.spec) for queue in queues]


def audit() -> Data:
    wanted = [dict.fromkeys(FILTERS, text) for text in TEXTS]
    paging = {"first": [None, "/x"], "older": [None, "/y"]}
    return varied({"rows": several(wire(AuditRecord)), "wanted": wanted, **paging})


def message() -> Data:
    texts = [[], [("text", ODD, 5_000)], [("text", "", 0), ("html", LONG, len(LONG))]]
    headers = [[], [("Subject", ODD), (ODD, LONG)]]
    return varied({"mail": wire(CapturedMessage), "texts": texts, "headers": headers})


def did() -> Data:
    key: dict[str, Any] = {"id": "did:web:x#a", "publicKeyJwk": {"kty": "OKP", "crv": "Ed25519"}}
    plain = {"id": "did:web:x#b", "publicKeyMultibase": "z6M"}
    methods = [[], [key], [plain], [key, {**key, "id": "did:web:x#c"}, plain]]
    documents = [{"id": "did:web:x", "verificationMethod": one} for one in methods]
    documents += [{**one, "assertionMethod": ["did:web:x#a"]} for one in documents]
    for one in instances(HostedDid, document=[*documents, {}, None]):
        yield {"did": one, "keys": keys_of(one)}


def dids() -> Data:
    rows = [(one, len(keys_of(one))) for one in instances(HostedDid, document=[{}, None])]
    return varied({"whose": TEXT_OR_NONE, "rows": several(rows), **TURNING})


def keys() -> Data:
    rows = [one | {"state": s} for one in wire(KeyInfo) for s in ("valid", "revoked", "expired")]
    return varied(
        {
            "rows": several(rows),
            "meanings": [list(MEANINGS.items()), []],
            "roles": [{name: sorted(given) for name, given in ROLES.items()}, {}],
            **TURNING,
        }
    )


def webhook() -> Data:
    ordinary = JobView.model_validate(
        {"id": "hook", "name": "w", "queue": "webhooks", "state": "failed", "opts": {}}
        | {"data": {"event": "x.done"}, "timestamp": 1}
    )
    jobs = [ordinary, *(ordinary.model_copy(update={"data": data}) for data in JSON)]
    rows = [AttemptRow.read(ordinary, record, is_platform=True) for record in RECORDS]
    rows += [AttemptRow.read(one, RECORDS[0], is_platform=False) for one in jobs]
    rows += instances(AttemptRow)
    states = ["closed", "open", "half_open", "disabled", ODD]
    reasons = [None, "gone", "failing", "operator", ODD]
    return varied(
        {
            "to": wire(WebhookDestinationDetails, state=states, reason=reasons),
            "jobs": [jobs, []],
            "attempts": several(rows),
            "platform": FLAGS,
            "limit": [100],
        }
    )


def webhooks() -> Data:
    counters = [Counter(), Counter(failed=3, completed=1)]
    lately = [(Destination(name, ODD), one) for name in TEXTS for one in counters]
    states = ["closed", "open", "half_open", "disabled"]
    return varied(
        {
            "whose": TEXT_OR_NONE,
            "rows": several(wire(WebhookDestination, state=states)),
            "lately": several(lately),
            "schedules": [SCHEDULES],
            **TURNING,
            "schedule": ["standard", "durable"],
        }
    )


def workers() -> Data:
    rows = wire(WorkerInfo, utilisation=[0.5, None, 0.0, 1.0])
    return varied(
        {
            "crew": [Crew(one) for one in several(rows)],
            "queues": [["a"], [], ["a", ODD]],
            "chosen": [None, "a"],
            "unattended": [{}, {"a": 1}, {"a": 1, ODD: 2**53}],
            "idle": [[], ["a"], ["a"] * 50],
            "jobs_shown": [JOBS_SHOWN],
        }
    )


def mail() -> Data:
    rows = several(wire(SuppressionEntry))
    return varied({"whose": TEXT_OR_NONE, "rows": rows, "captures": FLAGS, **TURNING})


def captured() -> Data:
    return varied({"rows": several(wire(CapturedMail)), "captures": [True], **TURNING})


def credentials() -> Data:
    return varied({"wanted": TEXTS, "found": [None, *wire(CredentialStatus)]})


TEMPLATES: dict[str, Callable[[Redis], Data]] = {
    "add.html": add,
    "add_choose.html": add_choose,
    "audit.html": lambda _: audit(),
    "canary.html": lambda _: canary(),
    "captured.html": lambda _: captured(),
    "cause.html": lambda _: cause(),
    "credentials.html": lambda _: credentials(),
    "dead.html": lambda _: dead(),
    "did.html": lambda _: did(),
    "dids.html": lambda _: dids(),
    "job.html": lambda _: job(),
    "keys.html": lambda _: keys(),
    "login.html": lambda _: login(),
    "mail.html": lambda _: mail(),
    "message.html": lambda _: message(),
    "overview.html": lambda _: overview(),
    "problem.html": lambda _: problem(),
    "queue.html": lambda _: queue(),
    "queues.html": lambda _: varied({"names": [["a"], [], ["a", ODD]]}),
    "webhook.html": lambda _: webhook(),
    "webhooks.html": lambda _: webhooks(),
    "welcome.html": lambda _: varied({"next": TEXTS}),
    "workers.html": lambda _: workers(),
}
"""By template. Those that others include, import or extend have no data of their own."""
