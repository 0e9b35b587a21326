"""What a DID operation may say."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from schemas.queues.did_operations import DidOperation

Places = Callable[..., set[str]]
Good = Mapping[type[BaseModel], dict[str, Any]]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"operation": "delete"}, "operation"),
        ({"didMethod": "ion"}, "didMethod"),
        ({"did": "did:key:z6Mk"}, "did"),
        ({"metadata": {"keyType": 1}}, "metadata"),
        ({"metadata": {"did": "z6Mk"}}, "metadata"),
        ({"metadata": [1]}, "metadata"),
        ({"operation": "update", "didMethod": "web"}, "did"),
        ({"operation": "deactivate", "didMethod": "web", "did": "did:key:z6Mk"}, "did"),
        (
            {
                "operation": "update",
                "didMethod": "web",
                "did": "did:web:a.example",
                "metadata": {"did": "did:web:b.example"},
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
    ],
)
def test_did_operations_name_their_did(
    good: Good, changes: dict[str, Any], target: str | None
) -> None:
    assert DidOperation.model_validate(good[DidOperation] | changes).target == target
