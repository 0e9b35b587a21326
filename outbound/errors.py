"""Why nothing usable came back: never (`Blocked`, `TooLarge`) or not this time (`Unreachable`)."""


class OutboundError(Exception):
    """`code` is a stable word for programs; the message may be shown to tenants (SS-7)."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class Blocked(OutboundError):
    """Permanent: this URL is not called from here, and nothing was sent.

    Codes: `blocked_address`, `invalid_url`, `scheme_not_allowed`. The text never says which
    address was refused; the operator's log does.
    """

    def __init__(
        self, message: str = "This URL may not be called.", *, code: str = "blocked_address"
    ) -> None:
        super().__init__(message, code=code)


class Unreachable(OutboundError):
    """Transient: the other side did not answer as HTTP asks.

    Codes: `dns_error`, `connect_refused`, `connect_timeout`, `connect_failed`, `tls_error`,
    `read_timeout`, `connection_reset`, `invalid_http_response`, `response_headers_too_large`,
    `proxy_error`.
    """


class TooLarge(OutboundError):
    """Permanent: the answer is longer than the caller wants to hold."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"The answer is longer than {max_bytes} bytes.", code="response_too_large")
