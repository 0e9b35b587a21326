"""A connection that is lost at a call of the test's choice."""

from typing import Any

from streams import Redis, errors


class CutOff(Redis):
    """A connection that passes `passing` calls on (None: all) and is lost at the next one, before
    the call is made or, with `after`, before its reply has come; for good or, with `once`, for
    that call only."""

    def __init__(
        self, redis: Redis, passing: int | None = None, *, after: bool = False, once: bool = False
    ) -> None:
        super().__init__(redis.settings)
        # What goes round `run` uses the links of `redis`, which is closed by whoever opened it.
        vars(self).update(vars(redis))
        self.opened = set()
        self.redis = redis
        self.passing = passing
        self.after = after
        self.once = once
        self.calls = 0

    async def run(self, key: str, *commands: Any) -> list[Any]:
        lost = self.passing is not None and (
            self.calls == self.passing if self.once else self.calls >= self.passing
        )
        self.calls += 1
        if lost and not self.after:
            raise errors.Unavailable("cut off before the call")
        replies = await self.redis.run(key, *commands)
        if lost:
            raise errors.Unavailable("cut off before the reply")
        return replies
