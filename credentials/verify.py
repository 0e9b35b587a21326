"""Verification of credentials and presentations, one step after the other.

What needs no network comes first, then the signature, and only what an authentic token refers to
is fetched: nobody can make this installation fetch anything but DID documents without signing.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from credentials.authentic import Clock, Reader, check_enveloped
from credentials.datamodel import entries
from credentials.errors import CredentialError
from credentials.integrity import check_contexts
from credentials.references import unchecked
from credentials.requester import Requester, acting_for
from credentials.retrieval import Retrieve
from credentials.schema_check import SchemaCheck
from credentials.settings import ListIssuers
from credentials.signatures import Compute, Keys, Resolve, authenticate, in_a_thread
from credentials.statements import Kind, Statement
from credentials.status_check import Hosted, StatusCheck
from credentials.verdict import CouldNotTell, Invalid, Verdict, invalid

TOTAL_S = 60.0
"""The longest one verification takes, with all it fetches."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the verifier asked for, apart from a credential that is valid."""

    kind: Kind = "credential"
    audience: frozenset[str] = frozenset()
    """The verifier's names. A token that names an audience must name one of them (D2, D3)."""
    nonce: str | None = None
    """The challenge that the token must carry."""
    enveloped: bool = False
    """It came out of an envelope."""


class Verifier:
    """Verifies any number of tokens; what it fetched is shared between them.

    `resolve` gives DID documents, `retrieve` status lists and schemas, `hosted` the status lists of
    this installation, without asking itself over HTTP. `clock` is in seconds since 1970, and
    `skew_s` is by how much clocks may differ (F8). `list_issuers`: whether a status list must be by
    the issuer of the credential (I4).
    """

    def __init__(
        self,
        resolve: Resolve,
        retrieve: Retrieve,
        *,
        clock: Clock,
        skew_s: float = 30,
        hosted: Hosted | None = None,
        list_issuers: ListIssuers = "same",
    ) -> None:
        self._reader = Reader(Keys(resolve, clock), clock, skew_s)
        self._status = StatusCheck(self._reader, retrieve, hosted, list_issuers)
        self._schema = SchemaCheck(self._reader, retrieve, self._status.check)

    def take_turns(self, compute: Compute, compute_long: Compute = in_a_thread) -> None:
        """From now on `await compute(function, *args)` runs each short computation, and
        `compute_long` each that would hold the event loop too long."""
        self._reader.keys.compute = compute
        self._reader.keys.compute_long = compute_long

    async def verify(
        self,
        text: str,
        expected: Expected | None = None,
        requester: Requester | None = None,
    ) -> Verdict:
        """The verdict about a token, or about an envelope with one in it.

        Never raises for what is in `text`. Raises CouldNotTell when something needed could not be
        fetched now, of which `verdict.invalid` makes a verdict when there is no other time;
        CapacityError when `requester` has as many verifications waiting as it may.
        """
        try:
            with acting_for(requester or Requester()):
                async with asyncio.timeout(TOTAL_S):
                    return await self._judge(text, expected or Expected())
        except CredentialError as error:
            return invalid(error)
        except TimeoutError:
            raise CouldNotTell(
                "SLOW_RETRIEVAL_ERROR", f"Verification took longer than {TOTAL_S:.0f} s."
            ) from None

    async def _judge(self, text: str, expected: Expected) -> Verdict:
        token, statement = await self._reader.read(text, expected.kind)
        if expected.enveloped:
            check_enveloped(statement)
        _check_audience(statement, expected)
        _check_nonce(statement, expected)
        await authenticate(token, statement, self._reader.keys)
        if statement.kind == "presentation":
            return await self._presentation(statement, expected)
        check_contexts(statement.document)
        statuses = await self._status.check(statement)
        await self._schema.check(statement)
        return _credential(statement, statuses)

    async def _presentation(self, statement: Statement, expected: Expected) -> Verdict:
        """Each credential is judged as if it had come alone, for the same verifier."""
        inner = Expected(audience=expected.audience, enveloped=statement.version == "2.0")
        verdicts = []
        for number, text in enumerate(statement.enclosed, start=1):
            try:
                verdicts.append(await self._judge(text, inner))
            except CredentialError as error:
                raise Invalid(
                    error.code, f"Credential {number} of the presentation: {error}"
                ) from None
        said = [{n: v for n, v in each.result().items() if n != "valid"} for each in verdicts]
        return Verdict(
            valid=True,
            issuer=statement.signer,
            claims={"verifiableCredential": said},
            document=statement.document,
            credentials=tuple(verdicts),
        )


def _check_audience(statement: Statement, expected: Expected) -> None:
    """A presentation is for the one who asked for it. A credential mostly is for anybody; but if
    it names somebody, it is for nobody else (RFC 7519, 4.1.3)."""
    if statement.audience is None:
        if statement.kind == "presentation" and expected.audience:
            raise Invalid(
                "AUDIENCE_MISMATCH", "The presentation does not say whom it is for (aud)."
            )
        return
    if not expected.audience & set(statement.audience):
        raise Invalid(
            "AUDIENCE_MISMATCH",
            "The token is for somebody else: its aud does not contain the verifier (verifierDid).",
        )


def _check_nonce(statement: Statement, expected: Expected) -> None:
    if expected.nonce is not None and statement.nonce != expected.nonce:
        raise Invalid("NONCE_MISMATCH", "The token does not carry the nonce that was asked for.")


def _credential(statement: Statement, statuses: list[dict[str, Any]]) -> Verdict:
    """Several subjects have no one id: their claims are then listed, ids included (A6)."""
    subjects = entries(statement.document, "credentialSubject")
    claims: dict[str, Any] = {"credentialSubject": subjects}
    subject = None
    if len(subjects) == 1:
        claims = {name: value for name, value in subjects[0].items() if name != "id"}
        subject = subjects[0].get("id")
    return Verdict(
        valid=True,
        issuer=statement.signer,
        subject=subject,
        claims=claims,
        document=statement.document,
        statuses=tuple(statuses),
        warnings=unchecked(statement.document),
    )
