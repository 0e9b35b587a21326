"""credentialSchema: what conforms, what does not, and what nobody can judge by (J1-J3)."""

import asyncio
import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import base58
import pytest
from judging import Bench
from minting import NOW, Issuer, entry

from credentials.patterns import PatternRefused, searches, states
from credentials.retrieval import NotRetrieved
from credentials.schema_validation import validate
from credentials.verdict import Invalid

URL = "https://schema.example/degree.json"
LIST = "https://issuer.example/status/1"
LATEST = "https://json-schema.org/draft/2020-12/schema"
DIALECTS = [
    LATEST,
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft-07/schema#",
]
ISSUER = Issuer()
W3C = json.loads((Path(__file__).parents[1] / "vectors" / "w3c-vc-v2-schema.json").read_text())


def schema(**changes: Any) -> dict[str, Any]:
    body = {"$schema": LATEST, "$id": URL, "type": "object"} | changes
    return {name: value for name, value in body.items() if value is not ...}


def degree(**keywords: Any) -> dict[str, Any]:
    """A schema about credentialSubject.degree."""
    subject = {"properties": {"degree": keywords}, "required": ["degree"]}
    return schema(properties={"credentialSubject": subject})


def token(**changes: Any) -> str:
    named = {"id": URL, "type": "JsonSchema"} | changes
    return ISSUER.v20(credentialSchema=named)


def bench(body: Any) -> Bench:
    return Bench(bodies={URL: json.dumps(body) if isinstance(body, dict) else body})


def sri(name: str, body: bytes) -> str:
    return f"{name}-{base64.b64encode(hashlib.new(name, body).digest()).decode()}"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_credential_conforms_or_does_not(dialect: str) -> None:
    good = bench(degree(type="string", minLength=3) | {"$schema": dialect})
    await good.valid(token())
    bad = bench(degree(type="string", minLength=30) | {"$schema": dialect})
    verdict = await bad.judge(token())
    assert verdict.error == (
        "SCHEMA_VALIDATION_ERROR: The credential does not conform to its credentialSchema, "
        "at $.credentialSubject.degree by minLength."
    )


async def test_the_whole_credential_is_validated() -> None:
    await bench(schema(required=["issuer", "validFrom", "credentialSubject"])).valid(token())
    assert await bench(schema(required=["evidence"])).code(token()) == "SCHEMA_VALIDATION_ERROR"
    # Claims about the token are no part of it.
    strict = schema(properties=dict.fromkeys(ISSUER.credential(), True), additionalProperties=False)
    strict["properties"]["credentialSchema"] = True
    made = ISSUER.v20(iss=ISSUER.did, iat=NOW, credentialSchema={"id": URL, "type": "JsonSchema"})
    await bench(strict).valid(made)


async def test_a_11_credential_is_validated_as_a_credential() -> None:
    wanted = schema(required=["issuer", "issuanceDate"], properties={"issuer": {"type": "string"}})
    made = ISSUER.v11(vc={"credentialSchema": {"id": URL, "type": "JsonSchema"}})
    await bench(wanted).valid(made)
    assert await bench(schema(required=["validFrom"])).code(made) == "SCHEMA_VALIDATION_ERROR"


async def test_the_w3c_schema_of_credentials() -> None:
    await bench(W3C).valid(token())


async def test_every_schema_counts_and_unknown_types_do_not() -> None:
    other = "https://schema.example/other.json"
    known = bench(degree(type="string"))
    known.bodies[other] = json.dumps(degree(type="number") | {"$id": other})
    first, second = ({"id": url, "type": "JsonSchema"} for url in (URL, other))
    made = ISSUER.v20(credentialSchema=[first, second])
    assert await known.code(made) == "SCHEMA_VALIDATION_ERROR"
    await known.valid(ISSUER.v20(credentialSchema=[first, second | {"type": "ShexShape"}]))
    many = ISSUER.v20(credentialSchema=[first] * 9)
    assert await known.code(many) == "MALFORMED_VALUE_ERROR"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"true",
        b"\xff",
        b'{"$schema":1e400}',
        schema(**{"$schema": ...}),
        schema(**{"$id": ...}),
        schema(**{"$id": 5}),
        schema(type=12),
        schema(properties=[]),
        schema(required="degree"),
        schema(type=[{"a": n} for n in range(2_000)]),
    ],
)
async def test_what_is_no_schema(body: Any) -> None:
    assert await bench(body).code(token()) == "SCHEMA_MALFORMED"


def laughs() -> dict[str, Any]:
    parts: dict[str, Any] = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)
    }
    return schema(**{"$defs": parts | {"d40": {}}, "$ref": "#/$defs/d0"})


@pytest.mark.parametrize(
    "body",
    [
        schema(**{"$schema": "http://json-schema.org/draft-04/schema#"}),
        schema(**{"$schema": "https://example.org/dialect"}),
        schema(**{"$ref": "https://schema.example/other.json"}),
        schema(**{"$ref": "other.json"}),
        schema(**{"$ref": LATEST}),
        schema(**{"$ref": "#/$defs/nothing"}),
        schema(**{"$ref": "#nothing"}),
        schema(**{"$dynamicRef": "https://schema.example/other.json#x"}),
        schema(**{"$id": LATEST}),
        schema(properties={"id": {"$id": "https://schema.example/part.json"}}),
        schema(properties={"id": {"$schema": LATEST}}),
        schema(**{"$ref": "#"}),
        degree(pattern="(?=a)b"),
        degree(pattern=r"(a)\1"),
        degree(pattern="["),
        degree(pattern="(a{100}){100}"),
        laughs(),
        schema(anyOf=[False] * 15_000),
    ],
)
async def test_what_nobody_can_judge_by_is_no_permission(body: dict[str, Any]) -> None:
    assert await bench(body).code(token()) == "SCHEMA_INDETERMINATE"


async def test_references_within_the_schema() -> None:
    inner = {"$defs": {"d": {"type": "string"}, "e": {"$anchor": "here", "minLength": 3}}}
    body = degree(allOf=[{"$ref": "#/$defs/d"}, {"$ref": "#here"}]) | inner
    await bench(body).valid(token())
    old = schema(**{"$schema": DIALECTS[2], "$id": URL + "#", "$ref": "#/definitions/d"})
    await bench(old | {"definitions": {"d": {"required": ["issuer"]}}}).valid(token())


async def test_patterns_match_in_linear_time() -> None:
    evil = schema(properties={"credentialSubject": {"properties": {"x": {"pattern": "^(a+)+$"}}}})
    for text, expected in (("a" * 4_000 + "!", "SCHEMA_VALIDATION_ERROR"), ("a" * 5_000, None)):
        made = ISSUER.v20(
            credentialSubject={"x": text}, credentialSchema={"id": URL, "type": "JsonSchema"}
        )
        assert await bench(evil).code(made) == (expected or "SCHEMA_INDETERMINATE")
    names = schema(patternProperties={"^(i|i?)+$": True}, additionalProperties=True)
    await bench(names).valid(token())


@pytest.mark.parametrize(
    ("keywords", "instance", "conforms"),
    [
        ({"pattern": "^a.c$"}, "abc", True),
        ({"pattern": "^a.c$"}, "abc\n", False),
        ({"pattern": "b"}, "abc", True),
        ({"pattern": "b"}, 5, True),
        ({"uniqueItems": True}, [1, True, "1", [1], {"a": 1}], True),
        ({"uniqueItems": True}, [1, 1.0], False),
        ({"uniqueItems": True}, [{"a": [1, 2]}, {"a": [1, 2]}], False),
        ({"uniqueItems": False}, [1, 1], True),
        ({"patternProperties": {"^n": {"type": "number"}}}, {"n1": 1, "x": "y"}, True),
        ({"patternProperties": {"^n": {"type": "number"}}}, {"n1": "1"}, False),
        ({"additionalProperties": False, "properties": {"a": True}}, {"a": 1}, True),
        ({"additionalProperties": False, "properties": {"a": True}}, {"b": 1}, False),
        ({"additionalProperties": False, "patternProperties": {"b": True}}, {"abc": 1}, True),
        ({"additionalProperties": {"type": "number"}}, {"a": "x"}, False),
        ({"format": "email"}, "no address", True),
        ({"multipleOf": 1e-308}, 1e308, True),
        ({"multipleOf": 0}, 1, None),
        ({"unevaluatedProperties": False, "patternProperties": {"^a": True}}, {"ab": 1}, True),
        ({"unevaluatedProperties": False, "patternProperties": {"^a": True}}, {"b": 1}, False),
    ],
)
def test_keywords_of_our_own(keywords: dict[str, Any], instance: Any, conforms: object) -> None:
    body = schema(properties={"value": keywords})
    if conforms is True:
        validate(body, {"value": instance})
        return
    with pytest.raises(Invalid) as refusal:
        validate(body, {"value": instance})
    assert conforms is None or refusal.value.code == "SCHEMA_VALIDATION_ERROR"


def test_the_size_of_patterns_is_known_before_they_are_compiled() -> None:
    assert states("^[0-9]{4}$") < 200
    assert states("a{3}") == 3
    assert states("(ab){5}") == 10
    assert states("((a{9}){9}){9}") == 729
    assert searches(r"^\(\d+\)$", "(12)")
    for pattern in ("x" * 1_001, "(a{1000}){1000}", r"\p{L}{1000}", "a{99999999999999999999}"):
        with pytest.raises(PatternRefused):
            searches(pattern, "x")


async def test_retrieval() -> None:
    gone = bench(NotRetrieved("The server answered with HTTP status 404.", transient=False))
    assert await gone.code(token()) == "SCHEMA_RETRIEVAL_ERROR"
    later = bench(NotRetrieved("The server answered with HTTP status 503.", transient=True))
    assert await later.unknown(token()) == "SCHEMA_RETRIEVAL_ERROR"
    later.bodies[URL] = json.dumps(degree(type="string"))
    await later.valid(token())


async def test_a_schema_is_kept_for_a_short_while() -> None:
    known = bench(degree(type="string"))
    for now, fetches in ((NOW, 1), (NOW + 299, 1), (NOW + 300, 2)):
        known.now = now
        await known.valid(token())
        assert len(known.fetched) == fetches


async def test_the_digest_decides_whether_it_is_the_schema() -> None:
    body = json.dumps(degree(type="string"))
    known = bench(body)
    good, other = sri("sha384", body.encode()), sri("sha512", b"other")
    await known.valid(token(digestSRI=good))
    await known.valid(token(digestSRI=f"{sri('sha256', b'other')} {good}"))
    for text in (sri("sha384", b"other"), f"{good} {other}"):
        assert await known.code(token(digestSRI=text)) == "SCHEMA_VERIFICATION_ERROR"
    for text in ("md5-AAAA", "", 5):
        assert await known.code(token(digestSRI=text)) == "MALFORMED_VALUE_ERROR"


async def test_a_multihash_decides_as_well_and_both_must_fit() -> None:
    body = json.dumps(degree(type="string")).encode()
    known = bench(body)
    for name, code in (("sha256", "1220"), ("sha384", "2030"), ("sha512", "1340")):
        good = bytes.fromhex(code) + hashlib.new(name, body).digest()
        spelled = base64.urlsafe_b64encode(good).rstrip(b"=").decode()
        for text in (f"u{spelled}", f"z{base58.b58encode(good).decode()}", f"f{good.hex()}"):
            await known.valid(token(digestMultibase=text, digestSRI=sri("sha256", body)))
        assert (
            await known.code(token(digestMultibase=text, digestSRI=sri("sha256", b"other")))
            == await known.code(token(digestMultibase=f"{text[:-2]}{255 - good[-1]:02x}"))
            == "SCHEMA_VERIFICATION_ERROR"
        )
    for bad in ("uAA", "m" + "A" * 40, "u", "z0", f"{text}00", "f12", [text, 5], "z" * 3_000):
        assert await known.code(token(digestMultibase=bad)) == "MALFORMED_VALUE_ERROR"


def enclosed(issuer: Issuer | None = None, body: Any = None, **changes: Any) -> str:
    subject = {"id": URL, "type": "JsonSchema", "jsonSchema": body or degree(type="string")}
    return (issuer or ISSUER).v20(
        **{
            "type": ["VerifiableCredential", "JsonSchemaCredential"],
            "credentialSubject": subject,
        }
        | changes
    )


async def test_a_schema_in_a_credential() -> None:
    made = token(type="JsonSchemaCredential")
    await bench(enclosed()).valid(made)
    await bench(enclosed(Issuer()) + "\n").valid(made)  # by whomever: the token names it
    wrong = enclosed(body=degree(type="number"))
    assert await bench(wrong).code(made) == "SCHEMA_VALIDATION_ERROR"
    for body in (
        "not a token",
        json.dumps(degree(type="string")),
        enclosed()[:-8] + "AAAAAAAA",
        enclosed(type=["VerifiableCredential"]),
        enclosed(validUntil="2027-01-02T00:00:00Z"),
        enclosed(credentialSubject={"id": URL}),
        enclosed(credentialSubject=[{"jsonSchema": {}}, {"a": 1}]),
        enclosed(credentialSubject={"jsonSchema": degree(type="string")}),
        enclosed(credentialSubject={"type": "Other", "jsonSchema": degree(type="string")}),
    ):
        assert await bench(body).code(made) == "SCHEMA_VERIFICATION_ERROR"


async def test_a_schema_in_a_credential_that_was_revoked() -> None:
    made = token(type="JsonSchemaCredential")
    known = bench(enclosed(credentialStatus=entry(LIST)))
    known.bodies[LIST] = ISSUER.status_list(LIST, 5)
    assert await known.code(made) == "SCHEMA_VERIFICATION_ERROR"


async def test_the_event_loop_goes_on_while_a_costly_schema_is_judged() -> None:
    """Turns of the loop are counted, not time."""
    turns = 0
    running = True

    async def turn() -> None:
        nonlocal turns
        while running:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(turn())
    assert await bench(laughs()).code(token()) == "SCHEMA_INDETERMINATE"
    running = False
    await other
    assert turns > 20
