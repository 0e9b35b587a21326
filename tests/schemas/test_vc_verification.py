"""What a verification job may say."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from schemas.queues.vc_verification import VcVerification, VcVerified

Places = Callable[..., set[str]]
Good = Mapping[type[BaseModel], dict[str, Any]]


def test_a_malformed_token_is_a_verdict_not_an_error(places: Places, good: Good) -> None:
    payload = good[VcVerification]
    assert VcVerification.model_validate(payload | {"vcJwt": "not a token"}).vc_jwt == "not a token"
    assert places(VcVerification, vcJwt="") == {"vcJwt"}
    assert places(VcVerification, vcJwt="x" * (256 * 1024 + 1)) == {"vcJwt"}
    with pytest.raises(ValidationError):
        VcVerified.model_validate({"valid": "true"})
