"""What a finished run says last: where the release and the report are, and how to chat."""

import shlex
from pathlib import Path

__all__ = ["closing_lines"]


def closing_lines(run: Path) -> list[str]:
    """Lines for the terminal, with commands that can be pasted whatever the folder is called."""
    model, report = run / "release" / "model", run / "report" / "report.html"
    quoted = shlex.quote(str(model))
    return [
        f"release   {model}",
        f"report    {report}",
        f"chat      fromscratch chat {quoted}",
        f"ask once  fromscratch chat {quoted} --message {shlex.quote('What is a river?')}",
    ]
