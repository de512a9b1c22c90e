"""Python environments of other projects, made on first use under the cache folder of the user."""

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

__all__ = ["cache_folder", "python_with"]


def cache_folder() -> Path:
    """Where benchmarks keep what they fetched."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fromscratch"


def python_with(name: str, requirements: Sequence[str], removed: Sequence[str] = ()) -> Path:
    """The interpreter of an environment with these requirements, which pip installs the first time.

    ``removed`` are packages that come along and do not fit, such as a torchvision for another build of torch.
    """
    folder = cache_folder() / "engines" / name
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"making {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *requirements], check=True)
        if removed:
            subprocess.run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *removed], check=True)
        (folder / "ready").touch()
    return python
