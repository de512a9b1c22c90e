"""What a finished run says last: where the release and the report are, and how to chat."""

import shlex
from pathlib import Path

__all__ = ["closing_lines"]


def closing_lines(run: Path, command: str = "fromscratch") -> list[str]:
    """Lines for the terminal, with commands that can be pasted whatever the folder is called.

    ``command`` is how the reader's shell finds this program.
    """
    model, report = run / "release" / "model", run / "report" / "report.html"
    quoted = shlex.quote(str(model))
    return [
        f"release   {model}",
        f"report    {report}",
        f"chat      {command} chat {quoted}",
        f"ask once  {command} chat {quoted} --message {shlex.quote('What is a river?')}",
    ]
