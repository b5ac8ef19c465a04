"""Say how long a training will take, before the hours have passed."""

from __future__ import annotations

from collections.abc import Callable

LONG_S = 600.0  # what takes less is not announced


class Forecast:
    """Says once, after a few timed updates, how long several trainings of one command take, if that is long.

    Validation comes on top: how long it takes is not known before the first one.

    Args:
        say: writes a line for the person watching.
        work: what is trained, for instance "100 000 updates of each of 2 rows".
        advice: what to do instead; "" for none.
        side_by_side: trainings that run at the same time.

    Attributes:
        updates_after: of the trainings that follow the present one, at about the same speed.
    """

    def __init__(self, say: Callable[[str], None], work: str, advice: str = "", side_by_side: int = 1) -> None:
        self._say, self._work, self._advice, self._side_by_side = say, work, advice, side_by_side
        self.updates_after = 0
        self._is_said = False

    def __call__(self, seconds_per_update: float, updates: int) -> None:
        """Say it, given how fast the present training is and how many updates it has left.

        >>> forecast = Forecast(print, "100 000 updates", "--set enhance.steps=2000 for a first look")
        >>> forecast(8.0, 100_000)
        about 222 h on this machine for 100 000 updates; --set enhance.steps=2000 for a first look
        """
        seconds = seconds_per_update * (updates + self.updates_after) / self._side_by_side
        if seconds >= LONG_S and not self._is_said:
            time = f"{seconds / 3600:.0f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"
            advice = f"; {self._advice}" if self._advice else ""
            self._say(f"about {time} on this machine for {self._work}{advice}")
        self._is_said = True


def count_text(count: int) -> str:
    """A count with its thousands apart.

    >>> count_text(100_000)
    '100 000'
    """
    return f"{count:,}".replace(",", " ")
