"""From an exception to a sentence for people and an exit code."""

import errno
from typing import TYPE_CHECKING, ClassVar

import click

from credstream.supervise import EXIT_USAGE, ServiceError

if TYPE_CHECKING:
    from pydantic import ValidationError

EXIT_REFUSED = 1
EXIT_UNREACHABLE = 3
UNAUTHORIZED = 401


class Told(click.ClickException):
    """A message for people; click prints it after `Error:` and exits with our code."""

    exit_code: ClassVar[int] = EXIT_REFUSED


class WrongUsage(Told):
    """Options or settings that do not fit: the same words would fail again."""

    exit_code: ClassVar[int] = EXIT_USAGE


class NobodyThere(Told):
    """No gateway, or no Redis, at the address given."""

    exit_code: ClassVar[int] = EXIT_UNREACHABLE


def tell(error: Exception) -> Told:
    """What to print for `error`, and the exit code it means."""
    # Only an error pays for knowing all of them: the command line starts without these.
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from consumers.discovery import NoProcessor
    from credentials.contexts import ContextsError
    from credentials.keyring import KeyringError
    from credstream.api import Refused, Unreachable
    from credstream.datadir import DataDirError
    from credstream.embedded import EmbeddedError
    from streams.durability import NotKept
    from streams.errors import CredstreamError, Unavailable

    match error:
        case Unreachable():
            return NobodyThere(str(error))
        case Unavailable():
            why = str(error).rstrip(".")
            return NobodyThere(
                f"Redis is not available: {why}. Check REDIS_URL (or REDIS_HOST, REDIS_PORT and "
                "REDIS_PASSWORD)."
            )
        case Refused() | DataDirError() | EmbeddedError() | ServiceError() | CredstreamError():
            return Told(_refusal(error))
        case ValidationError():
            return WrongUsage(_invalid(error))
        case SettingsError():
            return WrongUsage(f"A setting cannot be read: {error}.")
        case NotKept() | NoProcessor() | KeyringError() | ContextsError():
            return WrongUsage(str(error))
        case OSError(errno=errno.EADDRINUSE):
            return Told(f"The address is taken by another program: {error.strerror}.")
        case _:
            return Told(
                f"Something unexpected happened: {type(error).__name__}: {error}\n"
                "This is a defect of Credstream. `credstream --debug ...` shows where it is."
            )


def _refusal(error: Exception) -> str:
    from credstream.api import Refused

    if (
        isinstance(error, Refused) and error.status == UNAUTHORIZED
    ):  # the words of the gateway are for who writes requests
        return (
            f"{error.title}. Give an API key in CREDSTREAM_KEY or with --key; `credstream keys "
            "create` makes one."
        )
    return str(error)


def _invalid(error: "ValidationError") -> str:
    """The settings that do not fit, by the names under which people set them."""
    from schemas.plain_words import plain

    lines = []
    for fault in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in fault["loc"])
        name = _variable(error.title, place)
        what = plain(fault["type"], fault["msg"], fault.get("ctx"))
        lines.append(f"  {name}: {what}" if name else f"  {what}")
    return "\n".join(["These settings are not valid:", *lines])


def _variable(title: str, place: str) -> str:
    """The environment variable behind a field of the settings class named `title`."""
    from pydantic_settings import BaseSettings

    for settings in BaseSettings.__subclasses__():
        if settings.__name__ == title:
            prefix = settings.model_config.get("env_prefix", "")
            return f"{prefix}{place}".upper() if place else ""
    return place
