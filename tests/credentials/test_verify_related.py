"""relatedResource: what a credential says about resources that verifying it makes use of (VCDM 2.0,
5.3)."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from judging import Bench
from minting import V1, V2, Issuer, entry

from credentials import references
from credentials.verdict import Invalid

FOLDER = Path(__file__).parents[2] / "credentials" / "context_documents"
CONTEXT = (FOLDER / "credentials-v2.jsonld").read_bytes()
SCHEMA_URL, LIST_URL = "https://schema.example/degree.json", "https://issuer.example/status/1"
SCHEMA = json.dumps(
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_URL, "type": "object"}
)
ISSUER = Issuer()
LIST = ISSUER.status_list(LIST_URL)


def sri(body: bytes, name: str = "sha384") -> str:
    return f"{name}-{base64.b64encode(hashlib.new(name, body).digest()).decode()}"


def multihash(body: bytes) -> str:
    raw = b"\x12\x20" + hashlib.sha256(body).digest()
    return "u" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def bench() -> Bench:
    return Bench(bodies={SCHEMA_URL: SCHEMA, LIST_URL: LIST})


def token(url: str, **digests: Any) -> str:
    return ISSUER.v20(
        relatedResource=[
            {"id": "https://unused.example/x", "digestSRI": "sha256-x"},
            {"id": url, **digests},
        ],
        credentialSchema={"id": SCHEMA_URL, "type": "JsonSchema"},
        credentialStatus=entry(LIST_URL, "5"),
    )


@pytest.mark.parametrize(
    ("url", "body"), [(V2, CONTEXT), (SCHEMA_URL, SCHEMA.encode()), (LIST_URL, LIST.encode())]
)
async def test_a_resource_that_is_used_must_have_the_digests_it_is_said_to_have(
    url: str, body: bytes
) -> None:
    known = bench()
    good, wrong = sri(body), sri(b"other")
    for _ in range(2):  # also when it is remembered
        await known.valid(token(url, digestSRI=good, digestMultibase=multihash(body)))
        for digests in (
            {"digestSRI": wrong},
            {"digestMultibase": multihash(b"other")},
            {"digestSRI": good, "digestMultibase": multihash(b"other")},
            {"digestSRI": f"{good} {sri(b'other', 'sha512')}"},
        ):
            assert await known.code(token(url, **digests)) == "RELATED_RESOURCE_MISMATCH"
        assert await known.code(token(url, digestSRI="md5-AAAA")) == "MALFORMED_VALUE_ERROR"
    assert known.fetched == [LIST_URL, SCHEMA_URL]


async def test_what_is_not_used_is_not_fetched_for_its_digest() -> None:
    known = bench()
    await known.valid(token("https://unused.example/image.png", digestSRI=sri(b"image")))
    assert known.fetched == [LIST_URL, SCHEMA_URL]


async def test_the_word_means_nothing_in_data_model_1_1() -> None:
    await Bench().valid(ISSUER.v11(vc={"relatedResource": {"id": V1, "digestSRI": sri(b"other")}}))


def test_a_credential_that_is_wrong_about_its_context_is_not_issued() -> None:
    document: dict[str, Any] = {"@context": [V2], "relatedResource": {"id": V2}}
    references.check(document | {"relatedResource": {"id": V2, "digestSRI": sri(CONTEXT)}})
    with pytest.raises(Invalid) as refused:
        references.check(document | {"relatedResource": {"id": V2, "digestSRI": sri(b"other")}})
    assert refused.value.code == "RELATED_RESOURCE_MISMATCH"
