"""Status lists as a verifier sees them: everything must be had and hold (I1-I7, A5)."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from judging import Bench
from minting import NOW, V1, Issuer, Key, b64, encoded_list, entry

from credentials import bitstring
from credentials.retrieval import NotRetrieved, check_status
from schemas.queues.vc_verification import VcVerified

URL = "https://issuer.example/status/1"
ISSUER = Issuer()
VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "bitstring_status_list.json").read_text()
)

NAMED = ("legacy StatusList2021: no multibase prefix", "padding")


def token(*entries: Any, **changes: Any) -> str:
    return ISSUER.v20(credentialStatus=list(entries) or entry(URL, **changes))


async def code(body: Any, *entries: Any, **changes: Any) -> str:
    """The refusal of a credential whose list is `body`."""
    return await Bench(bodies={URL: body}).code(token(*entries, **changes))


@pytest.mark.parametrize("curve", ["Ed25519", "P-256", "P-384", "secp256k1"])
async def test_one_bit_decides(curve: str) -> None:
    issuer = Issuer(Key(curve))
    bench = Bench(bodies={URL: issuer.status_list(URL, 0, 7, 8, 131_071)})
    for index in ("0", "7", "8", "131071"):
        made = issuer.v20(credentialStatus=entry(URL, index))
        assert await bench.code(made) == "STATUS_REVOKED"
    for index in ("1", "6", "9", "15", "131070"):
        await bench.valid(issuer.v20(credentialStatus=entry(URL, index)))
    assert bench.fetched == [URL]


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=range(len(VECTORS["vectors"])))
async def test_official_lists(vector: dict[str, Any]) -> None:
    bench = Bench(
        bodies={URL: ISSUER.status_list(URL, encodedList=vector["encodedList"])},
    )
    rule = vector.get("set_rule")
    for index in (0, 1, 2, 7, 8, 94_566, 94_567, 131_071):
        is_set = index % 2 == 0 if rule == "even indexes" else index in vector["set"]
        verdict = await bench.judge(token(index=str(index)))
        assert verdict.valid is not is_set, (index, verdict.error)


@pytest.mark.parametrize(
    "encoded",
    [
        "u" + b64(gzip.compress(bytes(2**28))),
        "u" + b64(gzip.compress(bytes(16_384)) + b"garbage"),
        "u" + b64(gzip.compress(bytes(16_384)) * 2),
        "u" + b64(gzip.compress(bytes(16_384))[:-1]),
        *(row["encodedList"] for row in VECTORS["hostile"] if row["why"] in NAMED),
    ],
    ids=range(6),
)
async def test_hostile_lists(encoded: str) -> None:
    expected = {"MALFORMED_VALUE_ERROR", "STATUS_LIST_LENGTH_ERROR"}
    assert await code(ISSUER.status_list(URL, encodedList=encoded)) in expected


async def test_each_purpose_has_its_code_and_every_entry_counts() -> None:
    other = "https://issuer.example/status/2"
    bench = Bench(
        bodies={
            URL: ISSUER.status_list(URL),
            other: ISSUER.status_list(other, 5, statusPurpose=["suspension", "recall"]),
        }
    )
    clear = entry(URL)
    for purpose, expected in (("suspension", "STATUS_SUSPENDED"), ("recall", "STATUS_SET")):
        is_set = entry(other, statusPurpose=purpose)
        assert await bench.code(token(clear, is_set)) == expected
        assert await bench.code(token(is_set, clear)) == expected
    await bench.valid(token(clear, entry(other, "6", statusPurpose="suspension")))


async def test_entries_of_several_bits() -> None:
    raw = bytearray(32_768)
    raw[1] = 0b0001_0000  # the second bit of entry 5, at two bits each: bits 10 and 11
    big = "u" + b64(gzip.compress(bytes(raw)))
    wide = {"statusPurpose": "recall", "statusSize": 2, "statusMessage": messages(2)}
    bench = Bench(bodies={URL: ISSUER.status_list(URL, encodedList=big, statusPurpose="recall")})
    assert await bench.code(token(entry(URL, "5", **wide))) == "STATUS_SET"
    await bench.valid(token(entry(URL, "4", **wide)))
    await bench.valid(token(entry(URL, "131071", **wide)))
    assert await bench.code(token(entry(URL, "131072", **wide))) == "RANGE_ERROR"
    # One that lies half outside is outside, although its first bit says enough.
    odd = bytearray(131_072 * 3 // 8 + 1)
    odd[-1] = 0b0000_0010
    packed = "u" + b64(gzip.compress(bytes(odd)))
    body = ISSUER.status_list(URL, encodedList=packed, statusPurpose="message")
    three = {"statusPurpose": "message", "statusSize": 3, "statusMessage": messages(3)}
    half = entry(URL, "131074", **three)
    assert await Bench(bodies={URL: body}).code(token(half)) == "RANGE_ERROR"
    short = Bench(bodies={URL: ISSUER.status_list(URL, statusPurpose="recall")})
    assert await short.code(token(entry(URL, "5", **wide))) == "STATUS_LIST_LENGTH_ERROR"


@pytest.mark.parametrize(
    "changes",
    [
        {"statusPurpose": ...},
        {"statusPurpose": ["revocation"]},
        {"statusPurpose": ""},
        {"statusListIndex": 5},
        {"statusListIndex": "-1"},
        {"statusListIndex": "0x5"},
        {"statusListIndex": "5.0"},
        {"statusListIndex": "\u0665"},
        {"statusListIndex": " 5"},
        {"statusListIndex": ""},
        {"statusListIndex": "9" * 5_000},
        {"statusListIndex": ...},
        {"statusListCredential": ...},
        {"statusListCredential": "not a url"},
        {"statusListCredential": [URL]},
        {"id": URL},
        {"statusSize": 0},
        {"statusSize": "1"},
        {"statusSize": True},
        {"statusSize": 65},
        {"statusSize": 2},
        {"statusSize": 64},
        *(
            {"statusSize": 2, "statusMessage": listed}
            for listed in (
                [],
                {},
                "0x0",
                [{"status": "0x0", "message": "a"}] * 4,
                [{"status": f"0x{n}", "message": "a"} for n in range(3)],
                [{"status": f"0x{n}", "message": "a"} for n in range(5)],
                [{"status": f"0x{n}", "message": "a"} for n in (0, 1, 2, 4)],
                [{"status": f"{n}", "message": "a"} for n in range(4)],
                [{"status": n, "message": "a"} for n in range(4)],
                [{"status": f"0x{n}"} for n in range(4)],
                [{"status": f"0x{n}", "message": n} for n in range(4)],
                [{"status": f"-0x{n}", "message": "a"} for n in range(4)],
                [{"status": "0x" + "0" * 5_000, "message": "a"}] * 4,
                [None] * 4,
                ["0x0", "0x1", "0x2", "0x3"],
            )
        ),
        {"statusMessage": [{"status": "0x0", "message": "a"}]},
        {"statusMessage": None},
    ],
)
async def test_malformed_entries(changes: dict[str, Any]) -> None:
    body = ISSUER.status_list(URL)
    assert await code(body, entry(URL, **changes)) == "MALFORMED_VALUE_ERROR"


async def test_what_a_list_says_without_making_a_credential_invalid() -> None:
    raw = bytearray(32_768)
    raw[1] = 0b0010_0000  # the first bit of entry 5, at two bits each
    wide, narrow = "https://issuer.example/status/2", "https://issuer.example/status/3"
    bodies = {
        URL: ISSUER.status_list(URL),
        wide: ISSUER.status_list(
            wide, encodedList="u" + b64(gzip.compress(bytes(raw))), statusPurpose="message"
        ),
        narrow: ISSUER.status_list(narrow, 5, statusPurpose=["refresh", "message"]),
    }
    spoken = {"statusPurpose": "message", "statusSize": 2, "statusMessage": messages(2)}
    made = token(
        entry(URL),
        entry(wide, **spoken),
        entry(narrow, statusPurpose="refresh"),
        entry(narrow, "6", statusPurpose="refresh"),
        entry(narrow, statusPurpose="message"),
        entry(narrow, statusPurpose="message", statusMessage=messages(1)),
    )
    result = (await Bench(bodies=bodies).valid(made)).result()
    assert result["statuses"] == [
        {"purpose": "message", "value": 2, "message": "says 2"},
        {"purpose": "refresh", "value": 1},
        {"purpose": "refresh", "value": 0},
        {"purpose": "message", "value": 1},
        {"purpose": "message", "value": 1, "message": "says 1"},
    ]
    assert VcVerified.model_validate(result).model_dump(by_alias=True, exclude_none=True) == result
    assert "statuses" not in (await Bench(bodies=bodies).valid(token(entry(URL)))).result()
    # It must be had and hold all the same.
    del bodies[narrow]
    assert await Bench(bodies=bodies).code(made) == "STATUS_RETRIEVAL_ERROR"


async def test_what_was_not_looked_at_is_said() -> None:
    old = {
        "id": f"{URL}#5",
        "type": "StatusList2021Entry",
        "statusPurpose": "revocation",
        "statusListIndex": "5",
        "statusListCredential": URL,
    }
    schema = {"id": "https://schema.example/x", "type": "ShaclSchema"}
    bench = Bench(bodies={URL: ISSUER.status_list(URL, 5)})
    result = (await bench.valid(ISSUER.v20(credentialStatus=old, credentialSchema=schema))).result()
    assert result["warnings"] == [
        (
            "A credentialSchema of type ShaclSchema was not checked; of type JsonSchema or "
            "JsonSchemaCredential it would be."
        ),
        (
            "A credentialStatus of type StatusList2021Entry was not checked; of type "
            "BitstringStatusListEntry it would be."
        ),
    ]
    assert VcVerified.model_validate(result).model_dump(by_alias=True, exclude_none=True) == result
    many = [old | {"id": f"urn:a:{n}", "type": f"T{n}" + "x" * 5_000} for n in range(30)]
    warnings = (await bench.valid(token(*many))).result()["warnings"]
    assert len(warnings) == 16
    assert max(map(len, warnings)) < 300


def messages(size: int) -> list[dict[str, str]]:
    """A statusMessage, its values in another order than that of numbers."""
    return [{"status": hex(n), "message": f"says {n}"} for n in reversed(range(2**size))]


async def test_too_many_entries() -> None:
    assert await code(ISSUER.status_list(URL), *[entry(URL)] * 17) == "MALFORMED_VALUE_ERROR"


async def test_an_index_beyond_the_list() -> None:
    body = ISSUER.status_list(URL)
    await Bench(bodies={URL: body}).valid(token(index="131071"))
    assert await code(body, index="131072") == "RANGE_ERROR"


async def test_a_list_that_is_too_short() -> None:
    body = ISSUER.status_list(URL, encodedList=encoded_list(bits=131_064))
    assert await code(body) == "STATUS_LIST_LENGTH_ERROR"


@pytest.mark.parametrize(
    "changes",
    [
        {"encodedList": ...},
        {"encodedList": 5},
        {"encodedList": "u"},
        {"encodedList": "uAAAA"},
        {"encodedList": encoded_list()[1:]},
        {"encodedList": encoded_list() + "="},
        {"encodedList": "z" + encoded_list()[1:]},
        {"statusPurpose": ...},
        {"statusPurpose": []},
        {"statusPurpose": [5]},
        {"ttl": "300000"},
        {"ttl": -1},
        {"ttl": True},
    ],
)
async def test_malformed_lists(changes: dict[str, Any]) -> None:
    assert await code(ISSUER.status_list(URL, **changes)) == "MALFORMED_VALUE_ERROR"


def forged(made: str) -> str:
    return made[:-10] + "A" * 10


LIST_TYPES = ["VerifiableCredential", "BitstringStatusListCredential"]
SUBJECT = {"type": "BitstringStatusList", "statusPurpose": "revocation"}
SUBJECT["encodedList"] = encoded_list()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not a token",
        json.dumps(ISSUER.credential(type=LIST_TYPES, credentialSubject=SUBJECT)),
        b"\xff\xfe",
        forged(ISSUER.status_list(URL)),
        Issuer().status_list(URL),
        ISSUER.status_list(URL, statusPurpose="suspension"),
        ISSUER.v20(credentialSubject=SUBJECT),
        ISSUER.v20(type=LIST_TYPES, credentialSubject=SUBJECT | {"type": "Other"}),
        ISSUER.v20(type=LIST_TYPES, credentialSubject=[SUBJECT, SUBJECT]),
        ISSUER.v20(type=LIST_TYPES, credentialSubject=SUBJECT, validUntil="2027-01-02T00:00:00Z"),
        ISSUER.v20(type=LIST_TYPES, credentialSubject=SUBJECT, validFrom="2028-01-01T00:00:00Z"),
        ISSUER.v20(type=LIST_TYPES, credentialSubject=SUBJECT, credentialStatus=entry(URL)),
        ISSUER.v20(type=LIST_TYPES, credentialSubject=SUBJECT, aud="x", exp=NOW - 100),
        ISSUER.v20({"alg": "none"}, type=LIST_TYPES, credentialSubject=SUBJECT),
        "x" * (4 * 1024 * 1024 + 1),
    ],
)
async def test_lists_that_prove_nothing(body: Any) -> None:
    assert await code(body) == "STATUS_VERIFICATION_ERROR"


async def test_a_list_as_an_11_token_or_in_an_envelope_is_a_list_too() -> None:
    old = ISSUER.v11(vc={"type": LIST_TYPES, "credentialSubject": SUBJECT}, sub="urn:a:list")
    await Bench(bodies={URL: old}).valid(token())
    await Bench(bodies={URL: ISSUER.status_list(URL) + "\n"}).valid(token())


async def test_an_entry_in_an_11_credential_counts_too() -> None:
    made = ISSUER.v11(vc={"@context": [V1], "credentialStatus": entry(URL)})
    assert await Bench(bodies={URL: ISSUER.status_list(URL, 5)}).code(made) == "STATUS_REVOKED"
    await Bench(bodies={URL: ISSUER.status_list(URL, 6)}).valid(made)


@pytest.mark.parametrize("status", [301, 302, 400, 401, 404, 410, 204, 206])
async def test_a_list_that_is_not_there(status: int) -> None:
    with pytest.raises(NotRetrieved) as gone:
        check_status(status)
    assert await code(gone.value) == "STATUS_RETRIEVAL_ERROR"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_list_that_cannot_be_had_now_is_no_verdict(status: int) -> None:
    with pytest.raises(NotRetrieved) as later:
        check_status(status)
    bench = Bench(bodies={URL: later.value})
    assert await bench.unknown(token()) == "STATUS_RETRIEVAL_ERROR"
    bench.bodies[URL] = ISSUER.status_list(URL)
    await bench.valid(token())


async def test_a_list_is_kept_as_long_as_it_says() -> None:
    bench = Bench(bodies={URL: ISSUER.status_list(URL, ttl=2_000)})
    for now, fetches in ((NOW, 1), (NOW + 1.9, 1), (NOW + 2, 2)):
        bench.now = now
        await bench.valid(token())
        assert len(bench.fetched) == fetches
    bench.bodies[URL] = ISSUER.status_list(URL, 5, ttl=0)
    bench.now += 2
    for fetches in (3, 4):
        assert await bench.code(token()) == "STATUS_REVOKED"
        assert len(bench.fetched) == fetches


async def test_a_list_is_never_kept_beyond_its_end_or_five_minutes() -> None:
    ends = ISSUER.v20(type=LIST_TYPES, credentialSubject=SUBJECT, validUntil="2027-01-15T08:00:10Z")
    for body, kept_s in ((ends, 10), (ISSUER.status_list(URL, ttl=10**12), 300)):
        bench = Bench(bodies={URL: body})
        await bench.valid(token())
        bench.now = NOW + kept_s - 1
        await bench.valid(token())
        assert len(bench.fetched) == 1
        bench.now = NOW + kept_s
        await bench.judge(token())
        assert len(bench.fetched) == 2


async def test_lists_that_fail_are_not_kept() -> None:
    bench = Bench(bodies={URL: forged(ISSUER.status_list(URL))})
    assert await bench.code(token()) == "STATUS_VERIFICATION_ERROR"
    bench.bodies[URL] = ISSUER.status_list(URL)
    await bench.valid(token())


async def test_a_list_of_our_own_is_not_fetched_and_not_kept() -> None:
    bench = Bench(hosted={URL: ISSUER.status_list(URL)})
    await bench.valid(token())
    bench.hosted[URL] = ISSUER.status_list(URL, 5)
    assert await bench.code(token()) == "STATUS_REVOKED"
    bench.hosted[URL] = Issuer().status_list(URL)
    assert await bench.code(token()) == "STATUS_VERIFICATION_ERROR"
    assert bench.fetched == []


async def test_nothing_is_fetched_for_a_forged_credential() -> None:
    bench = Bench(bodies={URL: ISSUER.status_list(URL)})
    assert await bench.code(forged(token())) == "CRYPTOGRAPHIC_SECURITY_ERROR"
    assert bench.fetched == []


async def test_the_kept_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = [f"https://issuer.example/status/{number}" for number in range(5)]
    bench = Bench(bodies={url: ISSUER.status_list(url) for url in urls})
    each = bitstring.MIN_BITS // 8 + len(bench.bodies[urls[0]])  # the bits, and the token
    monkeypatch.setattr("credentials.status_check.CACHE_BYTES", 3 * each)
    for url in urls:
        await bench.valid(token(entry(url)))
    assert list(bench.verifier._status._known) == urls[-3:]
    assert bench.verifier._status._fetching == {}


async def test_a_list_by_somebody_else_counts_only_where_it_is_configured() -> None:
    other = Issuer(Key("P-256"))
    bodies = {URL: other.status_list(URL, 7)}
    assert await Bench(bodies=bodies).code(token(index="1")) == "STATUS_VERIFICATION_ERROR"
    bench = Bench(bodies=bodies, list_issuers="any")
    await bench.valid(token(index="1"))
    assert await bench.code(token(index="7")) == "STATUS_REVOKED"
    bench.bodies[URL] = other.status_list(URL, 7)[:-8] + "AAAAAAAA"
    bench.now += 301
    assert await bench.code(token(index="1")) == "STATUS_VERIFICATION_ERROR"
