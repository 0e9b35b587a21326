"""TLS to Redis: who is trusted."""

import ssl
from typing import Any

from redis.asyncio.connection import RedisSSLContext, SSLConnection


class _Trust(RedisSSLContext):
    """The authorities of `ca_certs` and no others; without it those of the system. redis-py adds
    the ones to the others, and loading the system's takes 40 ms at every connect."""

    def get(self) -> ssl.SSLContext:
        if self.context is None:
            made = ssl.create_default_context(cafile=self.ca_certs)
            made.check_hostname = self.check_hostname
            if self.certfile:
                made.load_cert_chain(self.certfile, self.keyfile)
            self.context = made
        return self.context


class TlsConnection(SSLConnection):
    """A connection that reads its files anew and checks certificates and names always."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        given = self.ssl_context
        self.ssl_context = _Trust(
            keyfile=given.keyfile,
            certfile=given.certfile,
            cert_reqs="required",
            ca_certs=given.ca_certs,
            check_hostname=True,
        )
