"""What this machine has, and what that means for a run."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from fromscratch import __version__
from fromscratch.core.workplace import available_cores

__all__ = ["examine", "page"]

GIB = 1 << 30


def examine() -> dict[str, Any]:
    """Cores, memory, GPUs, extras and disk as plain values; bytes as bytes. Imports nothing heavy."""
    disk = shutil.disk_usage(Path.cwd())
    return {
        "fromscratch": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": available_cores(),
        "processor": _processor(),
        "bf16": _has_flag("avx512_bf16") or _has_flag("amx_bf16"),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "memory_available_bytes": _available_memory_bytes(),
        "disk_free_bytes": disk.free,
        "gpus": _gpus(),
        "extras": {extra: _missing(extra) for extra in ("corpus", "anatomy", "train", "chat", "serve", "dev")},
    }


def page(found: dict[str, Any]) -> str:
    """The same for a person."""
    gpus = [f"{gpu['name']}, {gpu['memory_bytes'] / GIB:.0f} GiB" for gpu in found["gpus"]] or [
        "none: models run on the CPU"
    ]
    bf16 = "has bf16 instructions" if found["bf16"] else "no bf16 instructions: set pretrain.precision to fp32"
    rows = [
        ("fromscratch", f"{found['fromscratch']} on Python {found['python']}, {found['system']}"),
        ("cores", f"{found['cores']} ({found['processor']}; {bf16})"),
        ("memory", f"{_gib(found['memory_available_bytes'])} free of {_gib(found['memory_bytes'])}"),
        ("disk", f"{_gib(found['disk_free_bytes'])} free here; the demo needs about 1 GiB"),
        *(("GPU", each) for each in gpus),
        *(
            (
                f"[{extra}]",
                "installed" if not missing else f"lacks {', '.join(missing)}: pip install 'fromscratch[{extra}]'",
            )
            for extra, missing in found["extras"].items()
        ),
    ]
    return "\n".join(f"{name:<12} {text}" for name, text in rows)


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / GIB:.1f} GiB"


def _processor() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return match.group(1) if match else platform.processor() or "unknown processor"


def _has_flag(flag: str) -> bool:
    return re.search(rf"\b{flag}\b", _read("/proc/cpuinfo")) is not None


def _available_memory_bytes() -> int | None:
    match = re.search(r"^MemAvailable:\s*(\d+) kB$", _read("/proc/meminfo"), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:  # not Linux
        return ""


def _gpus() -> list[dict[str, Any]]:
    """Asked of the driver's own tool, so that the answer does not wait for torch."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False).stdout
    rows = [line.rsplit(",", 1) for line in answer.splitlines() if "," in line]
    return [{"name": name.strip(), "memory_bytes": int(mebibytes) << 20} for name, mebibytes in rows]


def _missing(extra: str) -> list[str]:
    """The distributions of an extra that are not installed, by their names."""
    missing = []
    for line in importlib.metadata.requires("fromscratch") or []:
        requirement, _, marker = line.partition(";")
        if f'extra == "{extra}"' not in marker.replace("'", '"'):
            continue
        name = re.split(r"[<>=!~ \[]", requirement.strip(), maxsplit=1)[0]
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return missing
