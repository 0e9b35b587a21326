"""Answers under idempotency keys: claimed, kept, dropped, and every word of the scripts."""

from typing import Any

import pytest

from streams import Redis, answers, keys
from streams.answers import Claimed, Running
from streams.errors import CredstreamError, KeyReused
from streams.once import OnceKey
from streams.scripts import RECORDS

KEY = OnceKey("d" * 40, "print")
AT = keys.answer(KEY.digest)


async def claimed(redis: Redis) -> Claimed:
    found = await answers.claim(redis, KEY)
    assert isinstance(found, Claimed)
    return found


async def test_what_was_kept_is_answered(redis: Redis, raw: Any) -> None:
    await answers.keep(redis, await claimed(redis), b"\x00said")
    assert await answers.claim(redis, KEY) == b"\x00said"
    assert answers.LEASE_MS < raw.pttl(AT["answer"]) <= answers.KEEP_MS


async def test_only_one_answers_and_only_to_one_request(redis: Redis, raw: Any) -> None:
    first = await claimed(redis)
    assert 0 < raw.pttl(AT["answer"]) <= answers.LEASE_MS
    with pytest.raises(Running):
        await answers.claim(redis, KEY)
    with pytest.raises(KeyReused):
        await answers.claim(redis, OnceKey(KEY.digest, "other"))
    await answers.drop(redis, first, refused=True)
    assert isinstance(await answers.claim(redis, KEY), Claimed)


async def test_a_claim_that_ran_out_spoils_nothing(redis: Redis, raw: Any) -> None:
    late = await claimed(redis)
    raw.delete(AT["answer"])
    second = await claimed(redis)
    await answers.keep(redis, late, b"late")
    await answers.drop(redis, late, refused=True)
    await answers.keep(redis, second, b"second")
    await answers.drop(redis, second, refused=True)
    assert await answers.claim(redis, KEY) == b"second"
    raw.delete(AT["answer"])
    await answers.keep(redis, late, b"late")  # nobody else has come
    assert await answers.claim(redis, KEY) == b"late"


async def test_a_plan_is_taken_up_by_the_next(redis: Redis, raw: Any) -> None:
    first = await claimed(redis)
    assert (first.plan, await answers.plan(redis, first, b"a")) == (b"", b"a")
    assert await answers.plan(redis, first, b"b") == b"a"
    with pytest.raises(Running):
        await answers.claim(redis, KEY)
    raw.hset(AT["answer"], "until", 1)
    second = await claimed(redis)
    assert second.plan == b"a"
    with pytest.raises(Running):
        await answers.plan(redis, first, b"c")
    await answers.drop(redis, second, refused=False)
    third = await claimed(redis)
    assert third.plan == b"a"
    assert answers.LEASE_MS < raw.pttl(AT["answer"]) <= answers.KEEP_MS
    await answers.drop(redis, third, refused=True)
    assert not raw.exists(AT["answer"])


def test_each_may_be_sent_twice(raw: Any) -> None:
    words = {
        "answer_claim": {"digest": "p", "nonce": "n", "lease_ms": 1_000},
        "answer_keep": {"digest": "p", "nonce": "n", "said": b"s", "keep_ms": 1_000},
        "answer_drop": {"nonce": "n", "refused": ""},
    }
    for name, args in words.items():
        raw.flushdb()
        command = RECORDS[name].command(AT, **args)
        replies = [raw.execute_command("EVAL", RECORDS[name].source, *command[2:])[0] for _ in "12"]
        assert replies == [b"OK", b"OK"], name


async def test_a_key_of_another_type(redis: Redis, raw: Any) -> None:
    raw.set(AT["answer"], "x")
    for call in (
        answers.claim(redis, KEY),
        answers.keep(redis, Claimed(KEY, "n"), b""),
        answers.plan(redis, Claimed(KEY, "n"), b""),
        answers.drop(redis, Claimed(KEY, "n"), refused=True),
    ):
        with pytest.raises(CredstreamError):
            await call
    assert raw.get(AT["answer"]) == b"x"
