"""The three questions together, on files as they lie there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from fromscratch.anatomy.compare import compare, compare_checkpoints
from fromscratch.anatomy.relation.judgement import Relation
from fromscratch.core.errors import FromScratchError
from tests.anatomy.zoo import Zoo


def write_model(folder: Path, arrays: Mapping[str, Any], config: Mapping[str, Any], card: str = "") -> Path:
    folder.mkdir(parents=True)
    save_file({name: np.ascontiguousarray(each) for name, each in arrays.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if card:
        (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


@pytest.fixture
def affair(zoo: Zoo, tmp_path: Path) -> tuple[Path, Path]:
    """A Llama and what was called another model, as folders."""
    renamed = zoo.derived("renamed_as_in_the_affair")
    llama = "---\nlicense: llama2\nmodel_name: Llama-2-tiny\n---\n"
    return (
        write_model(tmp_path / "llama", zoo.models["base"], zoo.checkpoint("base").config, llama),
        write_model(tmp_path / "new", renamed.arrays, renamed.config, "---\nlicense: apache-2.0\n---\n"),
    )


@pytest.mark.parametrize("blind", [False, True], ids=["by_name", "blind"])
def test_the_affair_in_three_answers(affair: tuple[Path, Path], blind: bool) -> None:
    found = compare(*affair, blind=blind)
    assert found.architecture.verdict == "same_up_to_renaming"
    assert found.architecture.renames == {
        f"model.layers.{layer}.{theirs}.weight": f"model.layers.{layer}.{ours}.weight"
        for layer in range(4)
        for theirs, ours in (("input_layernorm", "ln1"), ("post_attention_layernorm", "ln2"))
    }
    assert all(pair.proof == "numbers" for pair in found.architecture.pairings)
    assert found.weights.relation == Relation.TRANSFORMED
    assert [each.name for each in found.duties.lineage] == ["Llama-2-tiny"] and len(found.duties.missing) == 2


def test_the_architecture_is_judged_apart_from_the_weights(zoo: Zoo) -> None:
    found = compare_checkpoints(zoo.checkpoint("base"), zoo.checkpoint("other_seed"))
    assert found.architecture.verdict == "same"
    assert found.weights.relation == Relation.INDEPENDENT
    assert found.duties.lineage == () and found.duties.duties == ()


def test_a_side_is_counted_as_it_is_stored(zoo: Zoo) -> None:
    found = compare_checkpoints(zoo.checkpoint("base"), zoo.derived("Q8_0").checkpoint)
    numbers = sum(each.size for each in zoo.models["base"].values())
    assert found.a.parameters == found.b.parameters == numbers and found.a.tensors == 39
    assert found.a.kinds == {"F32": 39} and found.b.kinds == {"F32": 9, "Q8_0": 30}
    assert found.a.structure.layers == 4 and found.a.structure.vocabulary == 512


def test_what_is_no_model_is_refused_with_its_place(tmp_path: Path, affair: tuple[Path, Path]) -> None:
    with pytest.raises(FromScratchError, match="nothing_here"):
        compare(affair[0], tmp_path / "nothing_here")


def test_a_header_of_any_length_is_opened(zoo: Zoo, tmp_path: Path) -> None:
    """A safetensors file begins with the length of its header, which may look like the magic of another format."""
    arrays = zoo.models["base"]
    for padding in range(0, 260, 8):
        path = tmp_path / f"{padding}.safetensors"
        save_file(arrays, path, metadata={"padding": "x" * padding})
        if path.read_bytes()[0] == 0x80:
            assert compare(path, path).weights.relation == Relation.IDENTICAL
            return
    pytest.fail("no header length begins with 0x80")
