"""RunDisplay: how far a long run is, on standard error: a bar in a terminal, elsewhere a line now and then."""

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from typing_extensions import Self

LINE_EVERY_S = 10.0
"""Where standard error is no terminal, a line this often takes the bar's place."""


class RunDisplay:
    """The progress of a run."""

    def __init__(self, doing: str, amount: ProgressColumn, *, quiet: bool) -> None:
        """Shows nothing yet.

        Args:
            doing: What the run does, before the bar.
            amount: How much of it is done, behind the bar.
            quiet: Show nothing at all.
        """
        self._console = Console(stderr=True, quiet=quiet)
        self._bar = Progress(
            TextColumn(doing),
            BarColumn(),
            amount,
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rejected]} rejects"),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._next_line_s = LINE_EVERY_S

    def show(self, done: int, total: int, *, elapsed_s: float, amount: str, speed: str, rejected: int) -> None:
        """Shows how far the run is.

        Args:
            done: Of `total`, for the bar.
            total: Where the bar ends.
            elapsed_s: Since the run began.
            amount: `done` and `total` in words, for a line.
            speed: How quick it is, in words.
            rejected: Clips.
        """
        if not self._console.is_terminal:
            if elapsed_s >= self._next_line_s:
                self._next_line_s = elapsed_s + LINE_EVERY_S
                self._console.print(f"{amount}, {speed}, {rejected} rejects")
            return
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task("", total=total, speed=speed, rejected=rejected)
        self._bar.update(self._task, completed=done, speed=speed, rejected=rejected)

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:  # stopping a bar that was never shown prints an empty line
            self._bar.stop()
