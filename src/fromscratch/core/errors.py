"""Errors that a user can mend, told apart from broken promises of ours."""

__all__ = ["EXIT_BROKEN", "EXIT_DONE", "EXIT_GATE", "EXIT_USER", "FromScratchError", "GateRefused"]

EXIT_DONE = 0
EXIT_BROKEN = 1  # our fault: the traceback stays
EXIT_USER = 2  # the user's to mend: one sentence and a hint
EXIT_GATE = 3  # a gate refused a finished result


class FromScratchError(Exception):
    """One sentence that names the place and the value, and a hint that says the way out.

    Every entry point prints it as ``error: …`` and ``hint: …`` on stderr and exits with ``exit_code``.
    """

    exit_code = EXIT_USER

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type["FromScratchError"], tuple[str, str]]:
        return type(self), (self.message, self.hint)  # two arguments, so that it crosses a process pool

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}"


class GateRefused(FromScratchError):
    """A finished result that does not meet what it promises, such as a release whose logits differ."""

    exit_code = EXIT_GATE
