"""Token shards made by hand, whose every token tells its group and place."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fromscratch.core.files import write_json
from fromscratch.tokens.shards import describe_shard, token_type, write_shard

EMPTY = {"shards": [], "tokens": 0, "documents": 0, "bytes": 0}


def make_shards(folder: Path, groups: Mapping[str, Sequence[Sequence[int]]], vocabulary: int = 60_000) -> Path:
    """A tokens folder: for each group the numbers of tokens of the documents, by shard.

    The tokens of a group number ``g`` are ``g`` × 10,000 + place in the group's stream.
    """
    dtype = token_type(vocabulary)
    entries: dict[str, dict[str, Any]] = {}
    (folder / "train").mkdir(parents=True)
    for number, (group, shards) in enumerate(groups.items()):
        place, lines = number * 10_000, []
        for shard, lengths in enumerate(shards):
            name = f"train/{group.replace('/', '--')}-{shard:05}.tokens"
            edges = place + np.cumsum([0, *lengths])
            documents = [np.arange(*pair, dtype=dtype) for pair in pairwise(edges)]
            write_shard(folder / name, documents, lengths, [f"{place + each:016x}" for each in range(len(lengths))])
            lines.append(describe_shard(folder, name, dtype))
            place += sum(lengths)
        train = {key: sum(line[key] for line in lines) for key in ("tokens", "documents", "bytes")}
        entries[group] = {"train": {"shards": lines, **train}, "heldout": EMPTY}
    write_json(folder / "index.json", {"vocabulary": vocabulary, "end_of_document": 2, "groups": entries})
    return folder


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four groups of 999, 350, 120 and 5 tokens; windows of 10 tokens cross documents and shards."""
    groups = {
        "en/books": [[333], [13, 20], [300, 333]],
        "en/technical": [[350]],
        "zh/books": [[60], [60]],
        "zh/tiny": [[5]],
    }
    return make_shards(tmp_path_factory.mktemp("shards") / "tokens", groups)
