"""Which files of a folder are the model, where several formats, sets of shards and stale indexes lie side by side."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fromscratch.anatomy.opening.headers import DAMAGED, HEADER_BYTES_AT_MOST, parse_json
from fromscratch.anatomy.opening.sources import ByteSource, Folder, check_file_name
from fromscratch.core.errors import FromScratchError

__all__ = ["Choice", "choose_files", "is_weights", "part_names", "read_index"]

SUFFIXES = {"safetensors": (".safetensors",), "pytorch": (".bin", ".pt", ".pth"), "gguf": (".gguf",)}
"""The surest first: who has safetensors beside a `.bin` wants the former."""
PLAIN = ("model.safetensors", "pytorch_model.bin")  # what `transformers` reads before it looks for an index
INDEX = ".index.json"
# What trainers and multimodal models leave beside the weights in the same formats.
BESIDE = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state|random_states|mmproj)([-_.].*)?\.\w+")
PART = re.compile(r"(?P<stem>.*[-_.])(?P<number>\d{1,6})-of-(?P<count>\d{1,6})(?P<suffix>\.\w+)")
PARTS_AT_MOST = 10_000


class Part(NamedTuple):
    """A numbered shard: the set that it is of, and its number there, from 1."""

    set: tuple[str, str, str]  # stem, count as it is written, suffix
    number: int


@dataclass(frozen=True)
class Choice:
    """The files of the model in order, the index that lists their tensors, if any, and what was odd."""

    files: tuple[str, ...]
    index: str = ""
    weight_map: Mapping[str, str] | None = None
    remarks: tuple[str, ...] = ()


def is_weights(name: str) -> bool:
    """Whether a file's name is that of weights or of their index."""
    return name.endswith((INDEX, ".distcp", *(each for suffixes in SUFFIXES.values() for each in suffixes)))


def choose_files(folder: Folder) -> Choice:
    """The model's files. Raises FromScratchError where there are none, shards are missing, or several models lie."""
    for suffixes in SUFFIXES.values():
        names = [name for name in folder.files if name.endswith(suffixes) and not BESIDE.fullmatch(name)]
        if names:
            return _choose(folder, names, suffixes)
    if index := next((name for name in folder.files if name.endswith(INDEX)), None):
        raise FromScratchError(f"{folder.place}: has {index}, and none of the files it names", "fetch the weights too")
    raise FromScratchError(
        f"{folder.place}: holds no model",
        "name a file or folder with safetensors, PyTorch zip archives (.bin, .pt), GGUF, or a distributed checkpoint",
    )


def _choose(folder: Folder, names: Sequence[str], suffixes: tuple[str, ...]) -> Choice:
    indexes = [each for each in folder.files if each.endswith(tuple(suffix + INDEX for suffix in suffixes))]
    if plain := next((name for name in PLAIN if name in names), None):
        return Choice((plain,), remarks=tuple(f"{plain} is read, and not what {each} lists" for each in indexes))
    stale: tuple[str, ...] = ()
    for index in sorted(indexes, key=lambda each: each.removesuffix(INDEX) not in PLAIN):
        weight_map = read_index(folder.open(index))
        files = tuple(dict.fromkeys(weight_map.values()))
        missing = [each for each in files if "/" not in each and each not in folder.files]
        if files and not missing:
            return Choice(files, index, weight_map, stale)
        stale = (*stale, f"{index} is stale: it names {missing[0] if missing else 'no file'}, which is not there")
    sets: dict[tuple[str, str, str], dict[int, str]] = {}
    for name in names:
        if part := _part(name):
            sets.setdefault(part.set, {})[part.number] = name
    whole = [
        key
        for key, parts in sets.items()
        if sorted(parts) == list(range(1, len(parts) + 1)) and len(parts) == int(key[1])
    ]
    if len(whole) == 1:
        return Choice(tuple(sets[whole[0]][number] for number in sorted(sets[whole[0]])), remarks=stale)
    if len(names) > 1 and (whole or suffixes == SUFFIXES["gguf"]):
        raise FromScratchError(
            f"{folder.place}: holds several models, such as {names[0]} and {names[-1]}", "name a file"
        )
    if sets and not whole:
        (_, count, _), parts = next(iter(sets.items()))
        lacking = next(number for number in range(1, len(parts) + 2) if number not in parts)
        raise FromScratchError(f"{folder.place}: part {lacking} of {int(count):,} is missing", "fetch all of them")
    return Choice(tuple(names), remarks=stale)


def _part(name: str) -> Part | None:
    found = PART.fullmatch(name)
    return Part((found["stem"], found["count"], found["suffix"]), int(found["number"])) if found else None


def part_names(name: str) -> tuple[str, ...]:
    """The names of all parts of the set that a numbered file is of; its own name alone if it is not numbered."""
    found = PART.fullmatch(name)
    if not found or not 1 <= int(found["count"]) <= PARTS_AT_MOST:
        return (name,)
    digits = len(found["number"])
    numbers = range(1, int(found["count"]) + 1)
    return tuple(f"{found['stem']}{number:0{digits}}-of-{found['count']}{found['suffix']}" for number in numbers)


def read_index(source: ByteSource) -> dict[str, str]:
    """File by tensor name, of a `.index.json`. Raises FromScratchError for anything else, and for a file elsewhere."""
    if source.nbytes > HEADER_BYTES_AT_MOST:
        raise FromScratchError(f"{source.place}: has {source.nbytes:,} bytes", "no model's index is as long")
    weight_map = parse_json(source.read(0, source.nbytes), source.place).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(each, str) for each in weight_map.values()):
        raise FromScratchError(f"{source.place}: has no `weight_map` from tensors to files", DAMAGED)
    for file in dict.fromkeys(weight_map.values()):
        check_file_name(source.place, file)
    return weight_map
