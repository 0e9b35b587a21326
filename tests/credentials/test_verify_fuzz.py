"""Whatever others serve - documents, lists, schemas - there is a verdict and no crash (F7)."""

import asyncio
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judging import Bench
from minting import Issuer, Key, entry

LIST = "https://issuer.example/status/1"
SCHEMA = "https://schema.example/degree.json"
WEB = Issuer(Key(), "did:web:issuer.example", "did:web:issuer.example#key-1")
TOKEN = WEB.v20()
STATUS_TOKEN = WEB.v20(credentialStatus=entry(LIST))
SCHEMA_TOKEN = WEB.v20(credentialSchema={"id": SCHEMA, "type": "JsonSchema"})
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from([WEB.did, WEB.kid, "Ed25519", "OKP", "JsonWebKey", "z6Mk", "#key-1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=5)
            | st.sampled_from(
                [
                    "id",
                    "type",
                    "controller",
                    "publicKeyJwk",
                    "publicKeyMultibase",
                    "kty",
                    "crv",
                    "x",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
KEYWORDS = st.sampled_from(
    ["$ref", "$defs", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "allOf", "anyOf",
     "oneOf", "not", "if", "then", "else", "properties", "patternProperties", "pattern", "items",
     "additionalProperties", "prefixItems", "contains", "minContains", "uniqueItems", "required",
     "type", "enum", "const", "minimum", "maxLength", "multipleOf", "dependentSchemas",
     "dependentRequired", "propertyNames", "unevaluatedProperties", "unevaluatedItems", "format"]
)  # fmt: skip
SCHEMAS = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=4) | st.sampled_from(["#", "#/$defs/a", "a+"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(KEYWORDS | st.sampled_from(["a", "id", "credentialSubject"]), inner,
                      max_size=4),
    max_leaves=12,
)  # fmt: skip
DIALECTS = st.sampled_from(
    [
        "https://json-schema.org/draft/2020-12/schema",
        "https://json-schema.org/draft/2019-09/schema",
        "http://json-schema.org/draft-07/schema#",
    ]
)
CALM = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def judged(token: str, **bench: Any) -> bool:
    documents = {WEB.did: WEB.document()} | bench.pop("documents", {})
    return asyncio.run(Bench(documents=documents, **bench).judge(token)).valid


@CALM
@given(st.sampled_from(["verificationMethod", "assertionMethod", "@context", "keyAgreement"]), JSON)
def test_documents(member: str, value: Any) -> None:
    for changed in (value, [value], [WEB.document()["verificationMethod"][0], value]):
        judged(TOKEN, documents={WEB.did: WEB.document(**{member: changed})})


@CALM
@given(st.sampled_from(["id", "type", "controller", "publicKeyJwk", "publicKeyMultibase"]), JSON)
def test_methods(member: str, value: Any) -> None:
    method = WEB.document()["verificationMethod"][0]
    unchanged = method | {member: value} == method
    document = WEB.document(verificationMethod=[method | {member: value}])
    if judged(TOKEN, documents={WEB.did: document}):
        assert unchanged or member in ("publicKeyMultibase", "type", "id")


@CALM
@given(st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "use", "alg", "d"]), JSON))
def test_jwks(jwk: dict[str, Any]) -> None:
    method = WEB.document()["verificationMethod"][0] | {"publicKeyJwk": jwk}
    for merged in (jwk, WEB.key.jwk | jwk):
        document = WEB.document(verificationMethod=[method | {"publicKeyJwk": merged}])
        judged(TOKEN, documents={WEB.did: document})


@CALM
@given(st.sampled_from(["type", "statusPurpose", "encodedList", "ttl", "id"]), JSON)
def test_lists(member: str, value: Any) -> None:
    body = WEB.status_list(LIST, **{member: value})
    judged(STATUS_TOKEN, bodies={LIST: body})
    entries = entry(LIST, **{member: value})
    judged(WEB.v20(credentialStatus=[entries, value]), bodies={LIST: body})


@CALM
@given(st.binary(max_size=200))
def test_bodies(body: bytes) -> None:
    assert not judged(STATUS_TOKEN, bodies={LIST: body})
    assert not judged(SCHEMA_TOKEN, bodies={SCHEMA: body})


@CALM
@given(DIALECTS, st.dictionaries(KEYWORDS, SCHEMAS, max_size=5))
def test_schemas(dialect: str, keywords: dict[str, Any]) -> None:
    body = {"$schema": dialect, "$id": SCHEMA} | keywords
    judged(SCHEMA_TOKEN, bodies={SCHEMA: json.dumps(body)})
