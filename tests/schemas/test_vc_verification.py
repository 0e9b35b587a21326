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


def test_what_a_job_may_ask_for(places: Places, good: Good) -> None:
    payload = good[VcVerification]
    job = VcVerification.model_validate(
        payload | {"expect": "presentation", "audience": "https://verifier.example", "nonce": "n-1"}
    )
    assert (job.expect, job.audience, job.nonce) == (
        "presentation",
        "https://verifier.example",
        "n-1",
    )
    assert VcVerification.model_validate(payload).expect == "credential"
    for wrong in ({"expect": "token"}, {"audience": ""}, {"nonce": "x" * 2_049}, {"nonce": 5}):
        assert places(VcVerification, **wrong) == set(wrong)
