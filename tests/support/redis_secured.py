"""Debian's Redis as deploy/redis says: TLS only, and users that may do what they need."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from redis_servers import Server, redis7

DEPLOY = Path(__file__).parents[2] / "deploy" / "redis"
USER = "credstream"
ADMIN = "admin"
CA_VARIABLE = "REDIS_TLS_CA_FILE"


def password_of(user: str) -> str:
    return f"{user} knows & tells: nobody/%"


def users(file: str = "users.acl", **more: str) -> str:
    """The ACL file that ships, its users with a password each, and an administrator for tests.

    Keywords: another password for a user, valid beside the first."""
    lines = [f"user {ADMIN} on >admin allkeys allchannels +@all"]
    for line in (DEPLOY / file).read_text().splitlines():
        name = line.split(" ", 2)[1] if line.startswith("user ") else ""
        if name in ("", "default"):
            lines.append(line)
            continue
        known = [password_of(name), *([more[name]] if name in more else [])]
        hashes = " ".join("#" + hashlib.sha256(word.encode()).hexdigest() for word in known)
        lines.append(f"{line} {hashes}")
    return "\n".join(line for line in lines if line and not line.startswith("#")) + "\n"


@dataclass
class Secured:
    """The server as Credstream sees it (`url`), and as its administrator does (`client`)."""

    server: Server

    @property
    def url(self) -> str:
        return self.url_of(USER)

    def url_of(self, user: str) -> str:
        """As a process of that user's role is given it."""
        login = f"{user}:{quote(password_of(user), safe='')}"
        return f"rediss://{login}@localhost:{self.server.port}"

    def client(self, **options: Any) -> Any:
        """A plain redis-py client of the administrator, through the unix socket."""
        return self.server.client(**options)

    def flush(self) -> None:
        self.server.flush()

    def refused(self) -> list[str]:
        """What the ACL has refused, as `user: command or key`."""
        with self.client() as client:
            log = client.execute_command("ACL", "LOG")
        return [f"{one['username']}: {one['reason']} {one['object']}" for one in log]


@contextmanager
def secured(**options: Any) -> Iterator[Secured]:
    """For the length of the block, REDIS_TLS_CA_FILE names the authority of its certificate."""
    words = {"tls": True, "acl": users(), "username": ADMIN, "password": "admin"}
    before = os.environ.get(CA_VARIABLE)
    with redis7(**{**words, **options}) as server:
        os.environ[CA_VARIABLE] = str(server.ca)
        try:
            yield Secured(server)
        finally:
            del os.environ[CA_VARIABLE]
            if before is not None:
                os.environ[CA_VARIABLE] = before
