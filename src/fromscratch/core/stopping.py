"""Ctrl-C, SIGTERM and SIGUSR1: work stops at the next safe point, and the same command goes on from there."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["EXIT_AGAIN", "StopRequest", "Stopped", "stop_at_once", "stop_at_safe_point"]

EXIT_AGAIN = 75
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # a person; the system; Slurm, some time before it


class Stopped(BaseException):
    """Somebody asked the process to stop. Not an Exception, so that nothing swallows it on the way out."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C; else 75 (EX_TEMPFAIL of sysexits.h), for whoever asked for the place: start me again."""
        return 128 + signal.SIGINT if self.signal_number == signal.SIGINT else EXIT_AGAIN


class StopRequest:
    """Whether a stop was asked for; the loop that holds it looks between two steps."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __bool__(self) -> bool:
        return self.signal_number is not None

    def raise_if_asked(self) -> None:
        if self.signal_number is not None:
            raise Stopped(self.signal_number)


@contextlib.contextmanager
def stop_at_once() -> Iterator[StopRequest]:
    """Within the block SIGINT, SIGTERM and SIGUSR1 raise Stopped wherever the work is; atomic writes make that safe.

    Python drops an exception that a destructor or a callback from C raises, so the request is remembered as well: ask
    it between two pieces of work.
    """
    request = StopRequest()

    def raise_stopped(number: int, _frame: FrameType | None) -> None:
        request.signal_number = number
        raise Stopped(number)

    with _handling(raise_stopped):
        yield request


@contextlib.contextmanager
def stop_at_safe_point() -> Iterator[StopRequest]:
    """Within the block a first SIGINT, SIGTERM or SIGUSR1 only sets the request; a second raises Stopped at once."""
    request = StopRequest()

    def note(number: int, _frame: FrameType | None) -> None:
        if request:
            raise Stopped(number)
        request.signal_number = number

    with _handling(note):
        yield request


@contextlib.contextmanager
def _handling(handler: "signal._HANDLER") -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield
        return
    previous = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
