"""TLS to Redis: who is trusted."""

import ssl
from collections.abc import Mapping
from typing import Any

from redis.asyncio.connection import SSLConnection


class TlsConnection(SSLConnection):
    """A connection that trusts the authorities of `ssl_ca_certs` and no others, without it those of
    the system; it reads its files anew and checks certificates and names always. redis-py adds the
    ones to the others, and loading the system's takes 40 ms at every connect."""

    def _connection_arguments(self) -> Mapping[str, Any]:
        if self.ssl_context.context is None:
            made = ssl.create_default_context(cafile=self.ssl_context.ca_certs)
            if self.ssl_context.certfile:
                made.load_cert_chain(self.ssl_context.certfile, self.ssl_context.keyfile)
            self.ssl_context.context = made
        arguments: Mapping[str, Any] = super()._connection_arguments()
        return arguments
