"""Ctrl-C and SIGTERM: work stops at the next safe point, and the same command goes on from there."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["StopRequest", "Stopped", "stop_at_once", "stop_at_safe_point"]


class Stopped(BaseException):
    """Somebody asked the process to stop. Not an Exception, so that nothing swallows it on the way out."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


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
    """Within the block SIGINT and SIGTERM raise Stopped wherever the work is; atomic writes make that safe.

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
    """Within the block the first SIGINT or SIGTERM only sets the request; a second one raises Stopped at once."""
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
    previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
