"""How far something is, and how long the rest will take."""

from collections.abc import Callable


class Pace:
    """Steps that are done, some of them maybe by an earlier session, whose speed says nothing of this one's."""

    def __init__(self, total: int | None, now_s: Callable[[], float], done: float = 0.0) -> None:
        self.total, self.done = total, done
        self._now_s, self._first, self._began_s = now_s, done, now_s()
        self._moved_s = self._began_s

    def advance(self, steps: float) -> None:
        """So much more is done."""
        self.done += steps
        self._moved_s = self._now_s()

    @property
    def elapsed_s(self) -> float:
        """Since the beginning."""
        return self._now_s() - self._began_s

    @property
    def left_s(self) -> float | None:
        """By the pace so far, up to the last step that moved; None where there is no pace or no end yet."""
        moved = self.done - self._first
        if self.total is None or moved <= 0:
            return None
        pace_s = (self._moved_s - self._began_s) / moved
        return max(pace_s * (self.total - self.done) - (self._now_s() - self._moved_s), 0.0)
