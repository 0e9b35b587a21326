"""Signatures and keys, row by row, with the public library as the judge."""

import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook as Oracle

from consumers.delivery.signing import (
    HmacKey,
    SecretError,
    parse_key,
    signature,
    webhook_id,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "standard-webhooks.json").read_text())
BODY = b'{"a":1}'


def body(row: dict[str, Any]) -> bytes:
    return base64.b64decode(row["body_b64"]) if "body_b64" in row else row["body"].encode()


@pytest.mark.parametrize("row", VECTORS["published"], ids=lambda row: row["name"])
def test_published_signatures(row: dict[str, Any]) -> None:
    key = parse_key(row["key"])
    assert signature([key], row["id"], row["timestamp"], body(row)) == row["expect"]


@pytest.mark.parametrize("row", VECTORS["derived"], ids=lambda row: row["name"])
def test_derived_signatures(row: dict[str, Any]) -> None:
    raw = row["key"].removeprefix("whsec_")
    key = HmacKey(base64.b64decode(raw + "=" * (-len(raw) % 4)))
    assert signature([key], row["id"], row["timestamp"], body(row)) == row["expect"]
    if "refuse" in row["name"]:
        with pytest.raises(SecretError):
            parse_key(row["key"])
    else:
        assert parse_key(row["key"]) == key


@pytest.mark.parametrize("row", VECTORS["rotation"], ids=lambda row: row["name"])
def test_every_key_signs_newest_first(row: dict[str, Any]) -> None:
    keys = [parse_key(text) for text in row["keys"]]
    assert signature(keys, row["id"], row["timestamp"], body(row)) == row["expect"]


@pytest.mark.parametrize("row", VECTORS["keys_invalid"], ids=lambda row: row["why"])
def test_what_is_no_secret_is_refused_without_repeating_it(row: dict[str, str]) -> None:
    with pytest.raises(SecretError) as caught:
        parse_key(row["key"])
    assert not row["key"][7:] or row["key"][7:] not in str(caught.value)


@pytest.mark.parametrize("key", VECTORS["keys_valid"])
def test_good_secrets(key: str) -> None:
    parsed = parse_key(key)
    assert signature([parsed], "id", 1, b"").startswith("v1a," if "whsk_" in key else "v1,")
    assert key[7:] not in repr(parsed)


@pytest.mark.parametrize("text", ["whsec_ÄÖ", "whsec_" + "A" * 40 + "\n", "whsec_" + "A" * 33])
def test_base64_is_read_strictly(text: str) -> None:
    with pytest.raises(SecretError):
        parse_key(text)


def test_padding_may_be_left_out() -> None:
    assert parse_key("whsec_" + "A" * 34 + "==") == parse_key("whsec_" + "A" * 34)
    with pytest.raises(SecretError):
        parse_key("whsec_" + "A" * 34 + "=")


def test_the_public_library_accepts_our_signature() -> None:
    secret = VECTORS["keys_valid"][0]
    now_s = int(datetime.now(UTC).timestamp())
    keys = [parse_key(key) for key in (*VECTORS["keys_valid"][1:], secret)]
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now_s),
        "webhook-signature": signature(keys, "msg_1", now_s, BODY),
    }
    assert Oracle(secret).verify(BODY, headers) == {"a": 1}


def test_the_public_half_verifies_v1a() -> None:
    row = VECTORS["published"][2]
    signed = signature([parse_key(row["key"])], "x", 7, BODY)
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(row["public"][5:]))
    public.verify(base64.b64decode(signed.removeprefix("v1a,")), b'x.7.{"a":1}')


@pytest.mark.parametrize("job_id", ["a", "5_x-1", "A" * 64, "01HXYZ"])
def test_a_plain_job_id_is_the_webhook_id(job_id: str) -> None:
    assert webhook_id("org", "webhooks", job_id) == job_id


@pytest.mark.parametrize("job_id", ["a.b", "A" * 65, "a:b", "a/b", "~", "~cb:q:1-0:x", "+"])
def test_another_is_hashed_into_one(job_id: str) -> None:
    identifier = webhook_id("org", "webhooks", job_id)
    assert re.fullmatch(r"msg_[a-z2-7]{52}", identifier)
    assert identifier == webhook_id("org", "webhooks", job_id)
    others = {
        webhook_id("org2", "webhooks", job_id),
        webhook_id("org", "webhooks2", job_id),
        webhook_id("org", "webhooks", job_id + "."),
    }
    assert len(others | {identifier}) == 4


def test_no_two_jobs_share_an_id_by_where_their_names_are_cut() -> None:
    assert webhook_id("a", "b.", "c.d") != webhook_id("a", "b", ".c.d")
