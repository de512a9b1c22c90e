"""Fingerprints as files: one safetensors file each, read back without the model that it stands for."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fromscratch.anatomy.relation.digests import BFLOAT16, Digest
from fromscratch.anatomy.relation.fingerprint import (
    CELLS_AT_LEAST,
    EMBEDDING_CELLS,
    Fingerprint,
    Heads,
    SlotPrint,
)
from fromscratch.anatomy.relation.sampling import Places, Sample, sample_places
from fromscratch.anatomy.relation.slots import Slot, axes_of
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import atomic_write, canonical_json

__all__ = ["load_fingerprint", "save_fingerprint"]

VERSION = "fromscratch fingerprint 1"
SAVED_CELLS = 6 << 20  # numbers of all matrices together, in two bytes; half as many in four
DIGESTS_AT_MOST = 2 << 20  # rows and columns; a model with more keeps their digests at one precision instead of three

Arrays = dict[str, NDArray[np.generic]]


def save_fingerprint(each: Fingerprint, path: Path) -> None:
    """Write it whole or not at all: a few MB for small models, about 58 MB at 34B."""
    arrays: Arrays = {}
    lines = sum(sum(slot.shape) for slot in each.slots.values())
    cells = max(CELLS_AT_LEAST, SAVED_CELLS // max(1, len(each.slots)))
    slots = []
    for number, (slot, print_) in enumerate(each.slots.items()):
        digest, sample = print_.digest, _smaller(slot, print_, cells)
        held = [BFLOAT16] if lines > DIGESTS_AT_MOST and len(digest.rows) > 1 else list(range(len(digest.rows)))
        arrays[f"{number}.rows"], arrays[f"{number}.columns"] = digest.rows[held], digest.columns[held]
        arrays[f"{number}.values"] = sample.values
        arrays[f"{number}.at_rows"], arrays[f"{number}.at_columns"] = (
            places.astype(np.int32) for places in (sample.rows, sample.columns)
        )
        slots.append(
            {
                "slot": [slot.role, slot.layer, slot.name],
                "tensor": print_.tensor,
                "kind": print_.kind,
                "shape": print_.shape,
                "transposed": print_.transposed,
                "rows": print_.rows,
                "whole": digest.whole,
                "sets": [[f"{word:016x}" for word in words] for words in (digest.row_set, digest.column_set)],
            }
        )
    heads = [each.heads.query, each.heads.kv, each.heads.width]
    index = canonical_json({"place": each.place, "layers": each.layers, "heads": heads, "slots": slots})
    metadata = {"format": VERSION, "index": index, "digest": _digest(index, arrays)}
    with atomic_write(path) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary, metadata)


def _smaller(slot: Slot, each: SlotPrint, cells: int) -> Sample:
    tokens = axes_of(slot)[0] == "tokens"
    share = max(1, each.sample.values.itemsize // 2)
    wanted = (EMBEDDING_CELLS // 2 if tokens else cells) // share
    return each.sample.condensed(*sample_places(*each.shape, wanted, every_column=tokens))


def _digest(index: str, arrays: Arrays) -> str:
    made = blake2b(index.encode(), digest_size=16)
    for name in sorted(arrays):
        made.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return made.hexdigest()


def load_fingerprint(path: Path) -> Fingerprint:
    """Read a fingerprint back. FromScratchError if the file is none, is of another version, or was changed."""
    hint = "make it again with `fromscratch fingerprint MODEL`"
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
    except (OSError, SafetensorError) as error:
        raise FromScratchError(f"{path} is no fingerprint: {error}", hint) from error
    if metadata.get("format") != VERSION:
        raise FromScratchError(f"{path} is of the form {metadata.get('format')!r}, and {VERSION!r} is read", hint)
    if metadata.get("digest") != _digest(metadata.get("index", ""), arrays):
        raise FromScratchError(f"{path} was changed since it was written: its digest does not agree", hint)
    try:
        index: dict[str, Any] = json.loads(metadata["index"])
        slots = {Slot(*each["slot"]): _slot_print(each, number, arrays) for number, each in enumerate(index["slots"])}
        return Fingerprint(index["place"], slots, Heads(*index["heads"]), index["layers"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FromScratchError(f"{path} is no fingerprint: {error!r} in its index", hint) from error


def _slot_print(each: Mapping[str, Any], number: int, arrays: Arrays) -> SlotPrint:
    rows, columns, values = (arrays[f"{number}.{name}"] for name in ("rows", "columns", "values"))
    places: list[Places] = [arrays[f"{number}.at_{name}"].astype(np.int64) for name in ("rows", "columns")]
    row_set, column_set = (tuple(int(word, 16) for word in words) for words in each["sets"])
    digest = Digest(tuple(each["whole"]), row_set, column_set, rows.astype(np.uint32), columns.astype(np.uint32))  # type: ignore[arg-type]
    return SlotPrint(
        each["tensor"],
        each["kind"],
        (each["shape"][0], each["shape"][1]),
        each["transposed"],
        tuple(each["rows"]) if each["rows"] else None,
        digest,
        Sample(places[0], places[1], values),
    )
