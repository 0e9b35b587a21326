"""The suppression list in Redis: what its scripts answer, also when called twice."""

import json
from typing import Any

import pytest

import streams
from streams import errors, keys, mail
from streams.audit import Deed

ORG = "org-a"
DAY_MS = 24 * 3_600_000
DEED = Deed("local", "mail.suppress", "an address", ORG).encode()
LIST = mail.tenant(ORG)
JANE = mail.address_id(ORG, "jane@example.com")


def deeds(raw: Any, organization: str = ORG) -> list[Any]:
    rows = raw.xrange(keys.mail(mail.tenant(organization))["audit"])
    return [json.loads(fields[b"a"])["action"] for _, fields in rows]


async def put(redis: streams.Redis, entry_id: str, duration_ms: int = DAY_MS, **more: Any) -> Any:
    return await mail.suppress(
        redis, LIST, entry_id, **{"reason": "bounced", "who": DEED} | more, duration_ms=duration_ms
    )


async def names(redis: streams.Redis, start: int = 0, end: int = 10) -> list[str]:
    return [entry.id for entry in await mail.page(redis, LIST, start, end)]


def test_an_address_is_the_same_in_every_spelling() -> None:
    for other in ("Jane@Example.COM", "jane@EXAMPLE.com"):
        assert mail.address_id(ORG, other) == JANE
    assert mail.address_id(ORG, "a@exämple.com") == mail.address_id(ORG, "a@xn--exmple-cua.com")
    assert mail.address_id(ORG, "a@exa\u0308mple.com") == mail.address_id(ORG, "a@exämple.com")
    assert mail.address_id("org-b", "jane@example.com") != JANE
    assert mail.address_id(ORG, "jane2@example.com") != JANE
    assert len(JANE) == 64
    assert mail.address_id(ORG, "a@" + "x" * 70 + ".com") != JANE


async def test_suppressed_listed_and_allowed_again(redis: streams.Redis, raw: Any) -> None:
    assert await mail.suppressed(redis, LIST, JANE) is None
    assert await mail.page(redis, LIST, 0, 10) == []
    made = await put(redis, JANE, reason="hard: 550 no such user")
    assert made.until_ms == made.since_ms + DAY_MS
    assert await mail.suppressed(redis, LIST, JANE) == made
    assert await mail.page(redis, LIST, 0, 10) == [made]
    assert await mail.suppressed(redis, mail.tenant("org-b"), JANE) is None
    await mail.allow(redis, LIST, JANE, DEED)
    assert await mail.suppressed(redis, LIST, JANE) is None
    assert await mail.page(redis, LIST, 0, 10) == []
    await mail.allow(redis, LIST, JANE, DEED)
    assert deeds(raw) == ["mail.suppress", "mail.suppress"]


async def test_without_an_end(redis: streams.Redis) -> None:
    made = await put(redis, JANE, mail.FOREVER_MS)
    assert made.until_ms is None
    assert await mail.suppressed(redis, LIST, JANE) == made
    assert await mail.page(redis, LIST, 0, 0) == [made]


async def test_a_renewed_entry_keeps_its_age(redis: streams.Redis, raw: Any) -> None:
    first = await put(redis, JANE)
    raw.hset(keys.mail(LIST)["entries"], JANE, f"{first.since_ms - 5}:ab:old")
    again = await put(redis, JANE, mail.FOREVER_MS, reason="complaint")
    assert again == mail.Suppressed(JANE, "complaint", first.since_ms - 5, None)
    assert len(deeds(raw)) == 2


async def test_what_has_ended_does_not_hold_and_is_shed(redis: streams.Redis, raw: Any) -> None:
    await put(redis, JANE)
    raw.zadd(keys.mail(LIST)["ends"], {JANE: 1})
    assert await mail.suppressed(redis, LIST, JANE) is None
    assert await mail.page(redis, LIST, 0, 10) == []
    other = mail.address_id(ORG, "john@example.com")
    await put(redis, other)
    assert raw.hkeys(keys.mail(LIST)["entries"]) == [other.encode()]
    raw.zadd(keys.mail(LIST)["ends"], {other: 1})
    anew = await put(redis, other)
    assert await mail.suppressed(redis, LIST, other) == anew


async def test_pages(redis: streams.Redis) -> None:
    ids = [mail.address_id(ORG, f"user{n}@example.com") for n in range(5)]
    for number, entry_id in enumerate(ids):
        await put(redis, entry_id, (number + 1) * DAY_MS)
    assert await names(redis) == ids
    assert await names(redis, 1, 2) == ids[1:3]
    assert await names(redis, 4, 9) == ids[4:]
    assert await names(redis, 5, 9) == []


async def test_a_call_whose_reply_was_lost_is_one_deed(redis: streams.Redis, raw: Any) -> None:
    from streams.scripts import RECORDS

    where = keys.mail(LIST)
    arguments = {"id": JANE, "duration_ms": DAY_MS, "nonce": "ab12", "reason": "x", "who": b"{}"}
    command = RECORDS["mail_suppress"].command(where, **arguments)
    first, second = [(await redis.run(where.prefix, command))[0] for _ in range(2)]
    assert first[0] == b"OK"
    assert second[0] == b"ALREADY"
    assert first[1:] == second[1:]
    assert raw.xlen(where["audit"]) == 1
    removal = RECORDS["mail_allow"].command(where, id=JANE, who=b"{}")
    words = [(await redis.run(where.prefix, removal))[0][0] for _ in range(2)]
    assert words == [b"OK", b"MISSING"]
    assert raw.xlen(where["audit"]) == 2


async def test_nobody_asked_nothing_is_recorded(redis: streams.Redis, raw: Any) -> None:
    await put(redis, JANE, who=b"")
    assert raw.exists(keys.mail(LIST)["audit"]) == 0


@pytest.mark.parametrize("name", ["ends", "entries", "audit"])
async def test_a_key_of_another_type_changes_nothing(
    redis: streams.Redis, raw: Any, name: str
) -> None:
    where = keys.mail(LIST)
    raw.set(where[name], "not ours")
    with pytest.raises(errors.Refused):
        await put(redis, JANE)
    assert list(raw.scan_iter("cs:mail:*")) == [where[name]]
    if name != "audit":
        with pytest.raises(errors.Refused):
            await mail.allow(redis, LIST, JANE, DEED)
        with pytest.raises(errors.Refused):
            await mail.suppressed(redis, LIST, JANE)
    if name == "ends":
        with pytest.raises(errors.Refused):
            await mail.page(redis, LIST, 0, 1)


@pytest.mark.parametrize("organization", ["org", "}{", "{}", "a}b", "ü", "x" * 256])
async def test_every_organization_has_a_list_of_its_own(
    redis: streams.Redis, organization: str
) -> None:
    entry_id = mail.address_id(organization, "a@b.com")
    where = mail.tenant(organization)
    await mail.suppress(redis, where, entry_id, "x", duration_ms=0, who=b"")
    assert (await mail.page(redis, where, 0, 1))[0].id == entry_id
    assert await mail.page(redis, mail.tenant(organization + "2"), 0, 1) == []


async def test_the_secret_of_links_is_made_once(redis: streams.Redis, raw: Any) -> None:
    secret = await mail.link_secret(redis)
    assert len(secret) == 32
    assert await mail.link_secret(redis) == secret
    raw.delete(keys.mail_links()["secret"])
    assert await mail.link_secret(redis) != secret
    raw.delete(keys.mail_links()["secret"])
    raw.lpush(keys.mail_links()["secret"], "x")
    with pytest.raises(errors.Refused):
        await mail.link_secret(redis)


def test_a_token_says_who_and_from_whom() -> None:
    token = mail.unsubscribe_token(b"s" * 32, LIST, JANE)
    assert len(token) == 86
    assert mail.read_token(b"s" * 32, token) == (LIST, JANE)
    assert mail.read_token(b"t" * 32, token) is None
    for at in range(0, len(token) - 1, 7):
        other = "A" if token[at] != "A" else "B"
        forged = token[:at] + other + token[at + 1 :]
        assert mail.read_token(b"s" * 32, forged) is None


@pytest.mark.parametrize("token", ["", "x", "=", "a b", "ü", "A" * 64, "A" * 500, "\x00"])
def test_text_that_is_no_token(token: str) -> None:
    assert mail.read_token(b"s" * 32, token) is None


async def test_what_workers_can_do_is_announced_to_gateways(redis: streams.Redis, raw: Any) -> None:
    await mail.announce(redis, "emails", {"type": "object"})
    assert json.loads(raw.hget("cs:queues", "emails")) == {"schema": {"type": "object"}}
