"""`credstream.connect`: a handle on Redis for programs, which seals and opens what queues seal."""

from typing import TYPE_CHECKING

from credentials.keyring import RingSettings
from credentials.payload_cipher import configured_cipher
from streams import connect as connect_to

if TYPE_CHECKING:
    from streams import Redis, RedisSettings


def connect(where: "RedisSettings | str | None" = None) -> "Redis":
    """A handle on Redis from settings, from a URL, or (None) from the environment. Connects when
    first used; jobs are sealed under the ring of CREDSTREAM_DATA_KEKS, where there is one.

    Raises ValueError for a URL that is none, KeyringError for a ring that cannot be read."""
    place = RingSettings()
    redis = connect_to(where)
    redis.cipher = configured_cipher(place.data_dir, production=place.production)
    return redis
