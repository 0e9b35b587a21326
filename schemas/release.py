"""Which Credstream this is."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """The version installed; `0` where the program runs from sources that were not."""
    try:
        return installed("credstream")
    except PackageNotFoundError:
        return "0"
