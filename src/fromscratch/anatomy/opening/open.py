"""The one way in: a file or a folder, here or behind a URL, becomes a checkpoint whatever format it has."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from fromscratch.anatomy.opening.choose import Choice, choose_files, is_weights, part_names, read_index
from fromscratch.anatomy.opening.dcp_folder import DCP_METADATA, read_dcp
from fromscratch.anatomy.opening.gguf_file import GGUF_MAGIC, read_gguf
from fromscratch.anatomy.opening.headers import HEADER_BYTES_AT_MOST, check_name, parse_json, shown
from fromscratch.anatomy.opening.pytorch_archive import read_archive
from fromscratch.anatomy.opening.safetensors_file import read_safetensors
from fromscratch.anatomy.opening.sources import ByteSource, Folder, folder_of, open_folder, open_source
from fromscratch.anatomy.opening.trainer_state import KeyPath, model_alone
from fromscratch.anatomy.opening.zip_members import ZIP_MAGIC
from fromscratch.anatomy.tensors import Checkpoint, StoredTensor
from fromscratch.core.errors import FromScratchError

__all__ = ["open_checkpoint"]

OTHER_FILE_BYTES_AT_MOST = 1 << 28
LFS_POINTER = b"version https://git-lfs"
FORMATS = "safetensors, PyTorch's zip archives (.bin, .pt), GGUF and distributed checkpoints are read"
CONFIG = "config.json"
# Our own formats: a state of training (checkpoint/store.py, train/state.py), and a model (model/files.py).
STATE_COMMIT, STATE_MODEL = "commit.json", "model."
MODEL, DESCRIPTION = "model.safetensors", "model.json"


class Content(NamedTuple):
    """What one file of weights holds."""

    format: str
    tensors: Mapping[KeyPath, StoredTensor]
    table: Mapping[str, Any] = {}
    remarks: tuple[str, ...] = ()


def open_checkpoint(place: str | Path) -> Checkpoint:
    """Open the model at a path or URL: safetensors, PyTorch zip archives, GGUF, distributed checkpoints, our own.

    A folder may hold shards, with an index or without; a shard or an index that is named stands for the whole set.
    Only headers are read, each is checked before it is believed, and nothing is executed or unpickled. What was odd
    and did not matter stands in ``remarks``. Raises FromScratchError for what is missing, damaged, or no model.
    """
    folder = open_folder(place)
    if folder is None:
        return _open_file(str(place))
    if any(name.endswith(".distcp") for name in folder.files):
        return _open_state(folder) if STATE_COMMIT in folder.files else _open_dcp(folder)
    if not any(map(is_weights, folder.files)) and (newest := _newest_state(Path(place))):
        return open_checkpoint(newest)
    return _open_files(folder, choose_files(folder))


def _open_file(place: str) -> Checkpoint:
    folder, name = folder_of(place)
    if name == DCP_METADATA:
        return _open_dcp(folder)
    if name.endswith(".index.json"):
        weight_map = read_index(open_source(place))
        return _open_files(folder, Choice(tuple(dict.fromkeys(weight_map.values())), name, weight_map))
    if len(names := part_names(name)) > 1:
        return _open_files(folder, Choice(names))
    return _assemble(place, folder, [_read_file(open_source(place), name)], Choice((name,)))


def _open_files(folder: Folder, choice: Choice) -> Checkpoint:
    return _assemble(folder.place, folder, [_read_file(folder.open(name), name) for name in choice.files], choice)


def _open_dcp(folder: Folder) -> Checkpoint:
    tensors, remarks = model_alone(read_dcp(folder), DCP_METADATA)
    config, odd = _config(folder, CONFIG)
    return _checkpoint(folder.place, folder, "dcp", tensors, config, remarks + odd)


def _open_state(folder: Folder) -> Checkpoint:
    """Our own state of training: the weights alone."""
    named = {".".join(path): each for path, each in read_dcp(folder).items()}
    tensors = {
        name.removeprefix(STATE_MODEL): replace(each, name=name.removeprefix(STATE_MODEL))
        for name, each in named.items()
        if name.startswith(STATE_MODEL)
    }
    config, odd = _config(folder, STATE_COMMIT)
    return _checkpoint(folder.place, folder, "fromscratch", tensors, config, odd)


def _newest_state(place: Path) -> Path | None:
    """The newest of our own checkpoints in a folder of them, or in the folder of the stage that writes them."""
    found = [each for folder in (place, place / "checkpoints") for each in folder.glob("step-*") if each.is_dir()]
    numbered = [each for each in found if re.fullmatch(r"step-\d{8,}", each.name)]
    return max(numbered, key=lambda each: int(each.name.removeprefix("step-")), default=None)


def _read_file(source: ByteSource, file: str) -> Content:
    """A file of weights by its first bytes, whatever its name. Raises FromScratchError for what is none."""
    start = source.read(0, min(512, source.nbytes))
    if start.startswith(GGUF_MAGIC):
        tensors, table = read_gguf(source, file)
        return Content("gguf", {(name,): each for name, each in tensors.items()}, table)
    if start.startswith(ZIP_MAGIC):
        found, remarks = read_archive(source, file)
        return Content("pytorch", found, remarks=remarks)
    if start.startswith(LFS_POINTER):
        raise FromScratchError(f"{source.place}: is a pointer of Git LFS, and not the file", "run `git lfs pull`")
    if start[8:9] == b"{" or file.endswith(".safetensors"):
        tensors, _ = read_safetensors(source, file)
        return Content("safetensors", {(name,): each for name, each in tensors.items()})
    if start.startswith(b"\x80") or b"ustar" in start:
        raise FromScratchError(
            f"{source.place}: is of PyTorch's format before version 1.6, which cannot be read without running it",
            "where you trust it, load it with torch.load and save it again, best with safetensors",
        )
    raise FromScratchError(f"{source.place}: is in no known format", FORMATS)


def _assemble(place: str, folder: Folder, contents: Sequence[Content], choice: Choice) -> Checkpoint:
    """One checkpoint of all files of a model. Raises FromScratchError for a tensor that is in two of them."""
    merged: dict[KeyPath, StoredTensor] = {}
    for each in contents:
        for path, tensor in each.tensors.items():
            if path in merged:
                raise FromScratchError(
                    f"{place}: tensor `{shown(tensor.name)}` is in {merged[path].file} and in {tensor.file}",
                    "name the one file, or the index of the set, that is the model",
                )
            merged[path] = tensor
    tensors, remarks = model_alone(merged, place)
    remarks = (*choice.remarks, *(remark for each in contents for remark in each.remarks), *remarks)
    for missing, of, where in (
        ([name for name in choice.weight_map or () if name not in tensors], choice.index, "in no file"),
        ([name for name in tensors if choice.weight_map and name not in choice.weight_map], "the files", "in no index"),
    ):
        if missing:
            remarks += (f"{of}: {len(missing):,} tensors are {where}, such as `{shown(missing[0])}`",)
    own = DESCRIPTION in folder.files and choice.files == (MODEL,)
    config, odd = _config(folder, DESCRIPTION if own else CONFIG)
    form = "fromscratch" if own else contents[0].format
    table = contents[0].table if form == "gguf" else config
    return _checkpoint(place, folder, form, tensors, table, remarks + odd)


def _checkpoint(
    place: str,
    folder: Folder,
    form: str,
    tensors: Mapping[str, StoredTensor],
    config: Mapping[str, Any],
    remarks: tuple[str, ...],
) -> Checkpoint:
    if not tensors:
        raise FromScratchError(f"{place}: holds no tensors", FORMATS)
    for name in tensors:
        check_name((name,), place)
    others = tuple(name for name in folder.files if not is_weights(name))

    def read_file(name: str) -> bytes:
        source = folder.open(name)
        if source.nbytes > OTHER_FILE_BYTES_AT_MOST:
            raise FromScratchError(f"{source.place}: has {source.nbytes:,} bytes", "such a file is not read whole")
        return source.read(0, source.nbytes)

    return Checkpoint(place, form, tensors, config, others, read_file, remarks)


def _config(folder: Folder, name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the config says, which nothing depends on: one that cannot be read is a remark."""
    if name not in folder.files and not folder.unlisted:
        return {}, ()
    try:
        source = folder.open(name)
        if source.nbytes > HEADER_BYTES_AT_MOST:
            return {}, (f"{name}: has {source.nbytes:,} bytes and was not read",)
        return parse_json(source.read(0, source.nbytes), source.place, infinities=True), ()
    except FromScratchError as error:
        return {}, () if folder.unlisted else (error.message,)
