"""How the long-running commands log: one line per event, to standard error."""

import logging

LEVELS = ("debug", "info", "warning", "error")


def configure(level: str) -> None:
    """Log lines of `level` (one of LEVELS) and above, with the time of day and who says it."""
    logging.basicConfig(
        level=level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        force=True,
    )
