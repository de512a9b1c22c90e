"""The one way in: a file or a folder, here or behind a URL, becomes a checkpoint whatever format it has."""

from pathlib import Path

from fromscratch.anatomy.opening.gguf_file import GGUF_MAGIC, read_gguf
from fromscratch.anatomy.opening.headers import HEADER_BYTES_AT_MOST, parse_json
from fromscratch.anatomy.opening.safetensors_file import read_safetensors
from fromscratch.anatomy.opening.sources import open_folder, open_source
from fromscratch.anatomy.tensors import Checkpoint
from fromscratch.core.errors import FromScratchError

__all__ = ["open_checkpoint"]


def open_checkpoint(place: str | Path) -> Checkpoint:
    """Open a model: only headers are read, nothing is executed. Raises FromScratchError for what is not sound."""
    folder = open_folder(place)
    if folder is None:
        source = open_source(place)
        if source.nbytes > 4 and source.read(0, 4) == GGUF_MAGIC:
            tensors, table = read_gguf(source, Path(place).name)
            return Checkpoint(str(place), "gguf", tensors, table)
        tensors, _ = read_safetensors(source, Path(place).name)
        return Checkpoint(str(place), "safetensors", tensors, {})
    tensors = {}
    for name in folder.files:
        if name.endswith(".safetensors"):
            tensors |= read_safetensors(folder.open(name), name)[0]
    if not tensors:
        raise FromScratchError(f"{place}: holds no model", "name a file or a folder with weights")
    config = {}
    if folder.files.get("config.json", HEADER_BYTES_AT_MOST) < HEADER_BYTES_AT_MOST:
        source = folder.open("config.json")
        config = parse_json(source.read(0, source.nbytes), source.place)
    others = tuple(name for name in folder.files if not name.endswith(".safetensors"))

    def read_file(name: str) -> bytes:
        source = folder.open(name)
        return source.read(0, source.nbytes)

    return Checkpoint(str(place), "safetensors", tensors, config, others, read_file)
