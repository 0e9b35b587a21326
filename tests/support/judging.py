"""A verifier without a network: DID documents and bodies are what a test says they are."""

from dataclasses import dataclass, field
from typing import Any

from minting import NOW, Issuer

from credentials.resolver import Resolver
from credentials.retrieval import NotRetrieved
from credentials.verdict import CouldNotTell, Verdict
from credentials.verify import Expected, Verifier


@dataclass
class Bench:
    """Judges tokens at NOW. `bodies` are by URL: text, bytes, or the exception to raise."""

    documents: dict[str, Any] = field(default_factory=lambda: {"did:example:subject": {}})
    bodies: dict[str, Any] = field(default_factory=dict)
    hosted: dict[str, str] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    now: float = NOW
    skew_s: float = 30
    resolve: Any = None
    list_issuers: Any = "same"

    def __post_init__(self) -> None:
        self.resolve = self.resolve or Resolver(documents=self.documents).resolve
        self.verifier = Verifier(
            self.resolve,
            self._retrieve,
            clock=lambda: self.now,
            skew_s=self.skew_s,
            hosted=self._hosted,
            list_issuers=self.list_issuers,
        )

    async def _retrieve(self, url: str, max_bytes: int, accept: str) -> bytes:
        self.fetched.append(url)
        body = self.bodies.get(url, NotRetrieved("Nobody there.", transient=False))
        if isinstance(body, Exception):
            raise body
        return body.encode() if isinstance(body, str) else bytes(body)

    async def _hosted(self, url: str) -> str | None:
        return self.hosted.get(url)

    async def judge(self, token: str, **expected: Any) -> Verdict:
        verdict = await self.verifier.verify(token, Expected(**expected))
        if not verdict.valid:
            assert set(verdict.result()) == {"valid", "error"}
        return verdict

    async def valid(self, token: str, **expected: Any) -> Verdict:
        verdict = await self.judge(token, **expected)
        assert verdict.valid, verdict.error
        return verdict

    async def code(self, token: str, **expected: Any) -> str:
        """The code of a refusal, with a sentence behind it."""
        verdict = await self.judge(token, **expected)
        assert not verdict.valid, "accepted"
        assert verdict.error == f"{verdict.code}: {verdict.sentence}"
        assert verdict.sentence
        assert verdict.sentence.endswith("."), verdict.sentence
        return str(verdict.code)

    async def unknown(self, token: str) -> str:
        """The code with which it could not be told."""
        try:
            verdict = await self.judge(token)
        except CouldNotTell as error:
            return error.code
        raise AssertionError(verdict)

    def know(self, issuer: Issuer, **changes: Any) -> None:
        """Put the DID document of `issuer` in place."""
        self.documents[issuer.did] = issuer.document(**changes)
