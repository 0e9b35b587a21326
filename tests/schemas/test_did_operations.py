"""What a DID operation may say."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from schemas.queues.did_operations import DidOperation

Places = Callable[..., set[str]]
Good = Mapping[type[BaseModel], dict[str, Any]]


WEB = {"operation": "update", "didMethod": "web", "did": "did:web:a.b"}
NEW_WEB = {"operation": "create", "didMethod": "web"}


def service(**changes: Any) -> dict[str, Any]:
    whole = {"id": "#files", "type": "Files", "serviceEndpoint": "https://files.example/"}
    return whole | changes


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"operation": "delete"}, "operation"),
        ({"didMethod": "ion"}, "didMethod"),
        ({"did": "did:key:z6Mk"}, "did"),
        ({"metadata": {"keyType": 1}}, "metadata"),
        ({"metadata": {"did": "z6Mk"}}, "metadata"),
        ({"metadata": [1]}, "metadata"),
        ({"metadata": {"keyType": "P-521"}}, "metadata"),
        ({"metadata": {"keyType": "ed25519"}}, "metadata"),
        ({"metadata": {"a": float("nan")}}, "metadata"),
        ({"metadata": {"rotate": True}}, "metadata"),
        ({"metadata": {"path": "a"}}, "metadata"),
        ({"metadata": {"version": 1}}, "metadata"),
        ({"operation": "update", "didMethod": "web", "metadata": {"rotate": True}}, "did"),
        (WEB | {"metadata": None}, "metadata"),
        (WEB | {"metadata": {}}, "metadata"),
        (WEB | {"metadata": {"rotate": False, "addKeys": []}}, "metadata"),
        (WEB | {"metadata": {"rotate": "yes"}}, "metadata"),
        (WEB | {"metadata": {"rotate": 1}}, "metadata"),
        (WEB | {"metadata": {"rotate": True, "path": "a"}}, "metadata"),
        (WEB | {"metadata": {"rotate": True, "version": 0}}, "metadata"),
        (WEB | {"metadata": {"rotate": True, "version": "1"}}, "metadata"),
        (WEB | {"metadata": {"addKeys": [{"keyType": "RSA"}]}}, "metadata"),
        (WEB | {"metadata": {"addKeys": [{"use": "sig"}]}}, "metadata"),
        (WEB | {"metadata": {"addKeys": [{}] * 21}}, "metadata"),
        (WEB | {"metadata": {"removeKeys": ["key-1"]}}, "metadata"),
        (WEB | {"metadata": {"removeKeys": ["#key 1"]}}, "metadata"),
        (WEB | {"metadata": {"removeKeys": ["#key-1\n"]}}, "metadata"),
        (WEB | {"metadata": {"signWith": "#"}}, "metadata"),
        (WEB | {"metadata": {"signWith": "#key-1", "rotate": True}}, "metadata"),
        (WEB | {"metadata": {"addServices": [{"id": "#a", "type": "A"}]}}, "metadata"),
        (WEB | {"metadata": {"addServices": [service(serviceEndpoint="here")]}}, "metadata"),
        (WEB | {"metadata": {"addServices": [service(serviceEndpoint=[])]}}, "metadata"),
        (WEB | {"metadata": {"addServices": [service(serviceEndpoint="https://a b")]}}, "metadata"),
        (WEB | {"metadata": {"addServices": [service(id="a")]}}, "metadata"),
        (WEB | {"metadata": {"addServices": [service(type=[])]}}, "metadata"),
        (WEB | {"operation": "deactivate", "metadata": {"rotate": True}}, "metadata"),
        (NEW_WEB | {"metadata": {"path": ".."}}, "metadata"),
        (NEW_WEB | {"metadata": {"path": "a/../b"}}, "metadata"),
        (NEW_WEB | {"metadata": {"path": "/a"}}, "metadata"),
        (NEW_WEB | {"metadata": {"path": "a//b"}}, "metadata"),
        (NEW_WEB | {"metadata": {"path": "a/"}}, "metadata"),
        (NEW_WEB | {"metadata": {"path": "a:b"}}, "metadata"),
        (NEW_WEB | {"metadata": {"path": "a%2Fb"}}, "metadata"),
        (NEW_WEB | {"metadata": {"path": ".well-known"}}, "metadata"),
        (NEW_WEB | {"metadata": {"path": "a\n"}}, "metadata"),
        (NEW_WEB | {"metadata": {"path": "/".join("abcdefghi")}}, "metadata"),
        (NEW_WEB | {"metadata": {"path": "a" * 65}}, "metadata"),
        (NEW_WEB | {"did": "did:web:a.example", "metadata": {"path": "a"}}, "did"),
        ({"operation": "deactivate", "didMethod": "web", "did": "did:key:z6Mk"}, "did"),
        (
            {
                "operation": "update",
                "didMethod": "web",
                "did": "did:web:a.example",
                "metadata": {"did": "did:web:b.example", "rotate": True},
            },
            "did",
        ),
    ],
)
def test_did_operations_that_are_refused(
    places: Places, changes: dict[str, Any], place: str
) -> None:
    assert places(DidOperation, **changes) == {place}


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({}, None),
        ({"metadata": None}, None),
        ({"operation": "update"}, None),
        ({"operation": "update", "did": "did:key:z6Mk"}, "did:key:z6Mk"),
        (
            {"operation": "deactivate", "didMethod": "web", "metadata": {"did": "did:web:a.b"}},
            "did:web:a.b",
        ),
        ({"didMethod": "web", "did": "did:web:a.b"}, "did:web:a.b"),
        (WEB | {"metadata": {"rotate": True}}, "did:web:a.b"),
        (WEB | {"metadata": {"rotate": True, "note": ["mine"], "keyType": "P-384"}}, "did:web:a.b"),
        (WEB | {"metadata": {"addKeys": [{}, {"keyType": "secp256k1"}]}}, "did:web:a.b"),
        (WEB | {"metadata": {"removeKeys": ["#key-1", "did:web:a.b#key-2"]}}, "did:web:a.b"),
        (WEB | {"metadata": {"signWith": "#key-2", "version": 3}}, "did:web:a.b"),
        (
            WEB | {"metadata": {"addServices": [service(), service(id="did:web:a.b#b")]}},
            "did:web:a.b",
        ),
        (WEB | {"metadata": {"addServices": [service(type=["A", "B"], more=1)]}}, "did:web:a.b"),
        (WEB | {"metadata": {"addServices": [service(serviceEndpoint={"a": 1})]}}, "did:web:a.b"),
        (WEB | {"metadata": {"removeServices": ["#files"]}}, "did:web:a.b"),
        (WEB | {"operation": "deactivate", "metadata": {"version": 2}}, "did:web:a.b"),
        (NEW_WEB | {"metadata": {"path": "issuers/acme-1_b.c"}}, None),
        (NEW_WEB | {"metadata": {"path": "/", "services": [service()]}}, None),
    ],
)
def test_did_operations_name_their_did(
    good: Good, changes: dict[str, Any], target: str | None
) -> None:
    assert DidOperation.model_validate(good[DidOperation] | changes).target == target
