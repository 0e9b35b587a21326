"""A new key-encryption key (KEK) for everything that is sealed (K3).

Each seal is replaced on its own, and only if it is still the one that was opened. So a rotation
may be interrupted anywhere and started again, may run beside workers and other rotations, and is
done when a walk finds nothing under another KEK.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from re import Match
from typing import Any, Final

from consumers.processor import Resources
from credentials.errors import CredentialError
from credentials.keyring import (
    Keyring,
    KeyringError,
    KeyringSettings,
    Purpose,
    SealError,
    open_keyring,
    variable,
)
from streams import Redis, vault
from streams.errors import CredstreamError

WALKS: Final = 5
"""A second walk finds what came in during the first; more are for what keeps changing."""
PROBLEMS: Final = 20


@dataclass(slots=True)
class Report:
    """What a rotation did and what it found."""

    active: str
    checked: int = 0
    """Seals under the active KEK now, in the last walk."""
    resealed: int = 0
    changed_meanwhile: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Codes of seals that could not be opened, in the last walk."""
    problems: list[str] = field(default_factory=list)
    """Which records they are in and what is wrong, the first of them."""

    @property
    def complete(self) -> bool:
        """Whether everything is sealed under the active KEK: older ones may be taken away."""
        return not self.failed and not self.changed_meanwhile

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "complete": self.complete,
            "activeKek": self.active,
            "resealed": self.resealed,
            "underActiveKek": self.checked,
            "changedMeanwhile": self.changed_meanwhile,
            "failed": dict(self.failed),
            "problems": self.problems,
        }


async def rotate(redis: Redis, keyring: Keyring, tell: Callable[[Report], None]) -> Report:
    """Seal everything of the ring's purpose under its active KEK. `tell` is called after each
    batch of seals."""
    report = Report(keyring.active)
    for _ in range(WALKS):
        before = report.resealed
        report.checked = report.changed_meanwhile = 0
        report.failed.clear()
        async for batch in vault.stored(redis, keyring.purpose):
            for value in batch:
                await _reseal(redis, keyring, value, report)
            tell(report)
        if report.resealed == before and not report.changed_meanwhile:
            break
    return report


async def _reseal(redis: Redis, keyring: Keyring, value: vault.Stored, report: Report) -> None:
    try:
        text, count = _under_active(keyring, value.text)
    except CredentialError as error:
        report.failed[error.code] += 1
        problem = f"{value.key}: {error}"
        if problem not in report.problems and len(report.problems) < PROBLEMS:
            report.problems.append(problem)
        return
    if text == value.text:
        report.checked += count
    elif await vault.replace(redis, value, text):
        report.resealed += count
        report.checked += count
    else:
        report.changed_meanwhile += 1


def _under_active(keyring: Keyring, text: str) -> tuple[str, int]:
    """The text with its seals renewed, and how many there are. Raises SealError."""
    count = 0

    def renew(match: Match[str]) -> str:
        nonlocal count
        count += 1
        return keyring.reseal(match[0]) or match[0]

    renewed = vault.SEAL.sub(renew, text)
    if count == 0:
        raise SealError("key_unreadable", "What is stored there is no seal.")
    return renewed, count


async def missing_keks(redis: Redis, keyring: Keyring) -> list[str]:
    """KEKs of the ring's purpose that what is stored is sealed under and the ring lacks. Opens
    nothing, looks at 10,000 values at most. Raises Unavailable."""
    return sorted(_missing(await vault.keks_in_use(redis), keyring))


def _missing(in_use: Iterable[str], keyring: Keyring) -> set[str]:
    prefix = f"{keyring.purpose}/"
    return {kek for kek in in_use if kek.startswith(prefix)} - keyring.names


def ring_for(resources: Resources, purpose: Purpose) -> Keyring:
    """The ring of a process that is about to begin. Raises KeyringError when it has none, and when
    it lacks a KEK that is known to be in use."""
    settings = KeyringSettings()
    ring = open_keyring(
        settings, resources.data_dir, production=resources.production, purpose=purpose
    )
    missing = _missing(resources.keks_in_use, ring)
    if missing and not settings.keks_incomplete:
        raise KeyringError(
            f"Keys in Redis are sealed under {', '.join(sorted(missing))}, which the ring has not. "
            f"Put them back into {variable(purpose)}, not in front; if they are lost for good, "
            "CREDSTREAM_KEKS_INCOMPLETE=true starts without them."
        )
    return ring


async def keks_at_boot(redis: Redis) -> frozenset[str]:
    """Ids of the KEKs in use, as far as a short look shows; none where Redis is away: a worker
    begins all the same, and its first job tells."""
    try:
        return frozenset(await vault.keks_in_use(redis, vault.BOOT_STEPS))
    except CredstreamError:
        return frozenset()
