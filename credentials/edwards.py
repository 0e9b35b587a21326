"""The one piece of curve arithmetic cryptography does not offer: Ed25519 public keys to X25519.

Public values only, so nothing here needs constant time.
"""

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_Y_OF_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_Y = frozenset({0, 1, _P - 1, _Y_OF_ORDER_8, _P - _Y_OF_ORDER_8})
"""y of the eight points whose order divides 8: each is a key with which signatures of any message
can be written down without a private key."""


def to_montgomery(key: bytes) -> bytes:
    """The X25519 key (32 bytes) of an Ed25519 public key, by u = (1 + y) / (1 - y) mod 2^255 - 19.

    Raises ValueError when `key` does not decode to a curve point (RFC 8032, 5.1.3), also for
    another spelling of one, or when it is a point of small order.
    """
    encoded = int.from_bytes(key, "little")
    y = encoded & ((1 << 255) - 1)
    if len(key) != 32 or y >= _P or y in _SMALL_ORDER_Y or not _has_x(y):
        raise ValueError("not an Ed25519 public key")
    u = (1 + y) * pow(1 - y, -1, _P) % _P
    return u.to_bytes(32, "little")


def _has_x(y: int) -> bool:
    """Whether x^2 = (y^2 - 1) / (d y^2 + 1) has a solution: Euler's criterion, or x = 0."""
    # d is not a square, so the divisor is never zero; dividing or multiplying by it is the same
    # for the question whether the quotient is a square.
    product = (y * y - 1) * (_D * y * y + 1) % _P
    return product == 0 or pow(product, (_P - 1) // 2, _P) == 1
