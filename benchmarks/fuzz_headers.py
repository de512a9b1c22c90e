"""Mutated headers of checkpoints: each is opened or refused in a sentence; nothing is run, followed out, or allocated.

    python benchmarks/fuzz_headers.py [--inputs 50000] [--seed 1]

Seeds are sound checkpoints of every format (safetensors, one and sharded with an index; GGUF; PyTorch archives, with a
pickle that would run a command among them; distributed checkpoints). One file of them is damaged: bytes anywhere, or
a number, a name or an opcode of its header, which is then packed again so that the damage lies deep. What opens is read
whole. A child does it under a limit of memory and an audit hook, which Python calls before it opens a file, imports,
unpickles, or starts anything: whatever is not an opening within the checkpoint's own folder is a fault, as is every
exception but FromScratchError. A child that dies or is silent is a fault, and another goes on behind it.
"""

import argparse
import io
import json
import multiprocessing
import os
import platform
import random
import re
import resource
import shutil
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.core.errors import FromScratchError

Seed = Mapping[str, bytes]  # the files of a checkpoint by name; the one that is damaged first

SECONDS_AN_INPUT = 60.0
MEMORY_BYTES = 1_500_000_000
READ_BYTES_AT_MOST = 1 << 26
OUTSIDE = "outside.safetensors"
NUMBERS = (-1, 0, 1, 3, 255, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**70, 1e308, 0.5, True, None)
NAMES = (f"../{OUTSIDE}", f"/proc/self/../../{OUTSIDE}", "/etc/passwd", "..", "", ".", "a/../../x", "\0", "x" * 5000)
NAMES += (
    "link.safetensors",
    "pipe",
    "F32",
    "U8",
    "F99",
    "é\ud800",
    "-" * 70,
    "__metadata__",
    "C:\\x",
    "http://e.org/x",
)
OPCODES = bytes(range(256))
PICKLED_NUMBERS = (b"\x8a\x09" + b"\xff" * 8 + b"\x00", b"J\xff\xff\xff\x7f", b"J\xff\xff\xff\xff", b"N")
PICKLED_NUMBERS += (b"\x8b\x10\x27\x00\x00" + b"\x7f" * 10_000,)  # of 24,000 digits
ALLOWED = {"builtins.id", "os.listdir", "os.scandir", "object.__getattr__"}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--inputs", type=int, default=50_000)
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    begun, first = time.monotonic(), 0
    total: Counter[str] = Counter()
    faults: list[str] = []
    slowest, largest = 0.0, 0
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as workplace:
        maker = context.Process(target=make_seeds, args=(Path(workplace),))
        maker.start()
        maker.join()
        while first < asked.inputs:
            ours, theirs = context.Pipe()
            child = context.Process(target=open_inputs, args=(theirs, Path(workplace), asked.seed, first, asked.inputs))
            child.start()
            theirs.close()
            first, counts, (seconds, peak_bytes), found = follow(ours, child, first)
            total += counts
            faults += found
            slowest, largest = max(slowest, seconds), max(largest, peak_bytes)
        ran = (Path(workplace) / "ran").exists()
    print(f"Python {platform.python_version()}, numpy {np.__version__}; {asked.inputs:,} inputs, seed {asked.seed}")
    for name in sorted(total):
        print(f"  {name}: {total[name]:,}")
    faults += ["the command in the seed was run"] if ran else []
    print(f"slowest input {slowest:.2f} s; peak memory of a child {largest / 1e6:.0f} MB")
    print(f"limit of its memory {MEMORY_BYTES / 1e6:,.0f} MB; {time.monotonic() - begun:,.0f} s")
    print(f"crashed, hung, ran something, left its folder: {len(faults)}", *faults[:20], sep="\n  ")
    raise SystemExit(bool(faults))


def follow(pipe: Connection, child: Any, first: int) -> tuple[int, Counter[str], tuple[float, int], list[str]]:
    """A child's reports until it is done, dies or is silent: next input, counts, most seconds and bytes, faults."""
    total: Counter[str] = Counter()
    faults: list[str] = []
    most, number = (0.0, 0), first
    try:
        while pipe.poll(SECONDS_AN_INPUT + 20 * (number == first)):
            report = pipe.recv()
            if report is None:
                child.join()
                return 10**12, total, most, faults
            number, outcome, seconds, peak_bytes, fault = report
            total[outcome] += 1
            most = max(most[0], seconds), max(most[1], peak_bytes)
            faults += [f"input {number}: {fault}"] if fault else []
        faults.append(f"input {number + 1}: silent for {SECONDS_AN_INPUT:.0f} s")
    except EOFError:
        child.join()
        faults.append(f"input {number + 1}: died with status {child.exitcode}")
    child.kill()
    child.join()
    return number + 2, total, most, faults


def open_inputs(pipe: Connection, workplace: Path, seed: int, first: int, end: int) -> None:
    """The child: opens one damaged checkpoint after the other and reports each."""
    seeds = [
        (kind.name, {each.name: each.read_bytes() for each in sorted(kind.iterdir())})
        for kind in sorted((workplace / "seeds").iterdir())
    ]
    folder = workplace / "checkpoint"
    offences: list[str] = []
    watching = [False]
    for _, files in seeds:  # what is imported or compiled at first use is so now
        place(folder, files, random.Random(0))
        read_whole(folder)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", message="Duplicate name")  # of the archives that are made here
    b"\xe9".decode("cp437")  # of the names in zip archives
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching[0] and event not in ALLOWED:
            inside = event == "open" and f"{arguments[0]}/".startswith(f"{folder}/")
            if not inside:
                offences.append(f"{event} {str(arguments)[:120]}")

    sys.addaudithook(watch)
    for number in range(first, end):
        chance = random.Random(f"{seed} {number}")
        kind, files = chance.choice(seeds)
        place(folder, damaged_checkpoint(files, chance), chance)
        subject = folder / chance.choice([next(iter(files)), "."]) if kind != "dcp" else folder
        began = time.monotonic()
        watching[0] = True
        fault = ""
        try:
            read_whole(subject)
            outcome = "opened"
        except FromScratchError as error:
            outcome = "refused"
            if not error.message.isprintable() or len(error.message) > 2000:
                fault = f"not a sentence: {error.message[:200]!r}"
        except BaseException as error:
            outcome, fault = "crashed", f"{type(error).__name__}: {str(error)[:200]}"
        watching[0] = False
        if offences:
            fault = f"{fault} {offences[0]}"
            offences.clear()
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        report = (f"{kind}: {outcome}", time.monotonic() - began, peak_bytes, fault and f"{kind} {fault}")
        pipe.send((number, *report))
    pipe.send(None)


def read_whole(subject: Path) -> None:
    """Open it and read every tensor, in rows and raw, as far as it is of a size that a damaged header may claim."""
    checkpoint = open_checkpoint(subject)
    for tensor in checkpoint.tensors.values():
        assert tensor.nbytes <= READ_BYTES_AT_MOST, f"{tensor.nbytes:,} bytes of a small file"
        assert len(tensor.read_raw(0, tensor.nbytes)) == tensor.nbytes
        try:
            assert tensor.read().shape == tensor.shape
        except FromScratchError:  # a kind that is known by its size alone
            continue


def place(folder: Path, files: Seed, chance: random.Random) -> None:
    """Lay the files out, beside a link out of the folder and a pipe that nobody writes to."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "link.safetensors").symlink_to(folder.parent / OUTSIDE) if chance.random() < 0.2 else None
    if chance.random() < 0.1:
        os.mkfifo(folder / "pipe")


# ---- damage


def damaged_checkpoint(files: Seed, chance: random.Random) -> Seed:
    """The checkpoint with one of its files damaged, mostly the first, in one of two ways."""
    name = next(iter(files)) if chance.random() < 0.8 else chance.choice(list(files))
    content = files[name]
    for _ in range(chance.choice((1, 1, 2, 4))):
        deep = chance.random() < 0.6
        if deep and name.endswith(".safetensors") and len(content) > 8:
            length = int.from_bytes(content[:8], "little")
            header = damaged_json(content[8 : 8 + length], chance)
            content = len(header).to_bytes(8, "little") + header + content[8 + length :]
        elif deep and name.endswith(".json"):
            content = damaged_json(content, chance)
        elif deep and name.endswith((".bin", ".pt")):
            content = damaged_archive(content, chance)
        elif deep and name == ".metadata":
            content = damaged_pickle(content, chance)
        else:
            content = damaged_bytes(content, chance)
    return {**files, name: content}


def damaged_bytes(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    size = min(len(changed), chance.choice((1, 2, 8, 64)))
    # Headers are at the beginning, those of zip archives at the end.
    at = min(len(changed) - size, int(len(changed) * chance.random() ** chance.choice((1, 6))))
    at = len(changed) - size - at if chance.random() < 0.3 else at
    match chance.randrange(8):
        case 0 if changed:
            changed[min(at, len(changed) - 1)] ^= 1 << chance.randrange(8)
        case 1:
            changed[at : at + size] = bytes(size)
        case 2:
            changed[at : at + size] = chance.randbytes(size)
        case 3:
            del changed[at:]
        case 4:
            del changed[at : at + size]
        case 5:
            changed[at:at] = changed[at : at + size] * chance.choice((1, 2, 100))
        case 6:
            changed[at:at] = chance.randbytes(size)
        case _:
            number = chance.choice([each for each in NUMBERS if type(each) is int and each >= 0])
            width = chance.choice((1, 2, 4, 8))
            changed[at : at + width] = (number % 256**width).to_bytes(width, "little")
    return bytes(changed)


def damaged_json(content: bytes, chance: random.Random) -> bytes:
    """A number, a text or a bracket is something else; or the whole is buried in brackets."""
    text = content.decode("utf-8", "replace")
    tokens = list(re.finditer(r'-?\d+|"[^"]*"|[\[\]{},:]', text))
    if not tokens or chance.random() < 0.02:
        return ("[" * chance.choice((10, 100_000)) + text).encode()
    token = chance.choice(tokens)
    match chance.randrange(6):
        case 0 | 1:
            new = json.dumps(chance.choice(NUMBERS)) if token[0][0] != '"' else json.dumps(chance.choice(NAMES))
        case 2:
            new = chance.choice(("NaN", "-Infinity", "[]", "{}", "null", '"', "1e999", "[" * 2000, "9" * 5000))
        case 3:
            new = chance.choice(tokens)[0]
        case 4:
            new = token[0] * 2
        case _:
            new = ""
    return (text[: token.start()] + new + text[token.end() :]).encode("utf-8", "replace")


def damaged_archive(content: bytes, chance: random.Random) -> bytes:
    """The archive packed again around a damaged pickle, with a member gone, twice there, or under another name."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(each, archive.read(each)) for each in archive.namelist()]
    except Exception:  # damaged before
        members = []
    if not members:
        return damaged_bytes(content, chance)
    for number, (name, inner) in enumerate(members):
        if name.endswith("data.pkl"):
            members[number] = name, damaged_pickle(inner, chance)
    match chance.randrange(10):
        case 0:
            members.pop(chance.randrange(len(members)))
        case 1:
            members.append(chance.choice(members))
        case 2:
            number = chance.randrange(len(members))
            members[number] = chance.choice(NAMES).replace("\ud800", "").replace("\0", "") or "x", members[number][1]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", chance.choice((zipfile.ZIP_STORED,) * 9 + (zipfile.ZIP_DEFLATED,))) as archive:
        for name, inner in members:
            archive.writestr(name, inner)
    return packed.getvalue()


def damaged_pickle(content: bytes, chance: random.Random) -> bytes:
    """Opcodes put in, exchanged and taken out, and numbers that are extreme."""
    changed = bytearray(content)
    at = chance.randrange(len(changed) + 1)
    match chance.randrange(7):
        case 0:
            changed[at:at] = bytes([chance.choice(OPCODES)])
        case 1:
            changed[at : at + 1] = bytes([chance.choice(OPCODES)])
        case 2:
            del changed[at : at + chance.choice((1, 2, 5))]
        case 3:
            changed[at:at] = chance.choice((b"\x94", b"]", b"}", b"(", b"2", b"0", b"\x85")) * chance.choice(
                (1, 1000, 100_000)
            )
        case 4:
            changed[at:at] = b"cos\nsystem\n(X\x08\x00\x00\x00touch /xtR0"
        case 5:
            where = [each.start() for each in re.finditer(rb"[KMJ]", changed)] or [at]
            start = chance.choice(where)
            wide = chance.choice(PICKLED_NUMBERS)
            changed[start : start + {75: 2, 77: 3, 74: 5}.get(changed[start] if start < len(changed) else 0, 1)] = wide
        case _:
            return damaged_bytes(content, chance)
    return bytes(changed)


# ---- seeds


def make_seeds(workplace: Path) -> None:
    """Sound checkpoints, a folder each. Torch is imported here alone, so that the child that opens them has none."""
    import torch
    import torch.distributed.checkpoint as dcp
    from safetensors.torch import save

    warnings.simplefilter("ignore")  # that nothing is distributed here

    class Command:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {workplace}/ran",)

    base = torch.arange(64, dtype=torch.float32).reshape(8, 8)
    tensors = {"embed.weight": base, "layers.0.norm": torch.ones(8).bfloat16(), "f8": base.to(torch.float8_e4m3fn)}
    tensors |= {"count": torch.tensor(3), "none": torch.zeros(0, 4), "mask": base > 3}
    state = {**tensors, "turned": base.t(), "cut": base[1:5, 2:6], "parameter": torch.nn.Parameter(base[0].clone())}
    seeds: dict[str, dict[str, bytes]] = {"gguf": {"model.gguf": gguf()}}
    seeds["safetensors"] = {"model.safetensors": save(tensors, {"format": "pt"})}
    halves = [dict(list(tensors.items())[:3]), dict(list(tensors.items())[3:])]
    shards = {f"model-0000{number}-of-00002.safetensors": save(half) for number, half in enumerate(halves, start=1)}
    weight_map = {name: file for file, half in zip(shards, halves, strict=True) for name in half}
    index = json.dumps({"metadata": {"total_size": 400}, "weight_map": weight_map}, indent=1).encode()
    seeds["index"] = {"model.safetensors.index.json": index, **shards, "config.json": b'{"model_type": "llama"}'}
    for kind, value in (
        ("archive", state),
        ("archive of a trainer", {"model": state, "optimizer": {"state": {0: {"exp_avg": base}}}, "epoch": 3}),
        ("archive of a module", torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))),
        ("archive with a command", {"w": base, "x": Command()}),
    ):
        stream = io.BytesIO()
        torch.save(value, stream)
        seeds[kind] = {"pytorch_model.bin": stream.getvalue()}
    with tempfile.TemporaryDirectory() as folder:
        dcp.save({"model": dict(tensors)}, checkpoint_id=folder)
        files = {each.name: each.read_bytes() for each in Path(folder).iterdir()}
        seeds["dcp"] = {".metadata": files.pop(".metadata"), **files}
    for kind, files in seeds.items():
        (workplace / "seeds" / kind).mkdir(parents=True)
        for name, content in files.items():
            (workplace / "seeds" / kind / name).write_bytes(content)
    (workplace / OUTSIDE).write_bytes(save({"secret": base}))


def gguf() -> bytes:
    """Keys of all types, and tensors in blocks and plain."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    keys = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("general.alignment") + struct.pack("<II", 4, 32),
        text("llama.rope.freq_base") + struct.pack("<If", 6, 1e4),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 3) + text("a") + text("b") + text("<s>"),
        text("tokenizer.ggml.scores") + struct.pack("<IIQ3f", 9, 6, 3, 0, 1, 2),
        text("nested") + struct.pack("<IIQIQ2BIQB", 9, 9, 2, 0, 2, 1, 2, 0, 1, 3),
    ]
    forms = [("a", (32, 4), 0, 512), ("q8", (64, 2), 8, 136), ("q4k", (256, 1), 12, 144), ("norm", (6,), 1, 12)]
    header, content = b"".join(keys), b""
    for name, shape, kind, count in forms:
        header += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(content))
        content += bytes(range(256)) * (count // 256) + bytes(count % 256) + bytes(-count % 32)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(forms), len(keys)) + header
    return header + bytes(-len(header) % 32) + content


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
