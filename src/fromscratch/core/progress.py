"""Progress of long work: bars on a terminal, nothing at all in a pipe."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Advance", "progress", "say"]

Advance = Callable[..., None]


@contextlib.contextmanager
def progress(label: str, total: float | None, done: float = 0, shown: bool = True) -> Iterator[Advance]:
    """A bar on stderr while the block runs; yields ``advance(amount=1, note="")``.

    ``total`` may be None when it is not known. ``done`` is where resumed work starts. Silent when stderr is no
    terminal, so that logs hold no bars, and where it is not to be ``shown``.
    """
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not (shown and console.is_terminal),
        transient=True,
    ) as bars:
        task = bars.add_task(label, total=total, completed=int(done), note="")

        def advance(amount: float = 1, note: str | None = None) -> None:
            bars.advance(task, amount)
            if note is not None:
                bars.update(task, note=note)

        yield advance


def say(line: str) -> None:
    """A line of talk, on stderr: stdout is for data alone."""
    print(line, file=sys.stderr, flush=True)
