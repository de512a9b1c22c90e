"""Tensors are what their names say: `x_BTD` has three dimensions, and a letter means one size within a call."""

import ast
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor

import fromscratch.model
from fromscratch.model.generate import generate_batch
from fromscratch.model.settings import Sampling
from fromscratch.model.tiling import QUERIES_PER_BLOCK

from .conftest import recollections, small_decoder

MODEL = Path(fromscratch.model.__file__).parent
SUFFIX = re.compile(r"_([A-Z1][A-Z1]*)$")


def misnamed(values: dict[str, Any]) -> list[str]:
    """What is wrong with the local variables of one call, and nothing if their names tell the truth."""
    sizes = {name: value for name, value in values.items() if len(name) == 1 and isinstance(value, int)} | {"1": 1}
    wrong = []
    for name, value in values.items():
        suffix = SUFFIX.search(name)
        if not suffix or not isinstance(value, Tensor):
            continue
        if value.dim() != len(suffix[1]):
            wrong.append(f"{name} has shape {tuple(value.shape)}")
            continue
        for letter, size in zip(suffix[1], value.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                wrong.append(f"{letter} is {sizes[letter]}, and {size} in {name}")
    return wrong


@contextmanager
def watching(found: list[str], checked: set[str]) -> Iterator[None]:
    """Check the local variables of each call into the package at the moment when it returns."""

    def on_event(frame: FrameType, event: str, _argument: Any) -> Any:
        if Path(frame.f_code.co_filename).parent != MODEL:
            return None
        if event == "return":
            place = f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"
            found.extend(f"{place}: {each}" for each in misnamed(frame.f_locals))
            checked.update(f"{place}:{name}" for name, value in frame.f_locals.items() if isinstance(value, Tensor))
        return on_event

    before = sys.gettrace()
    sys.settrace(on_event)
    try:
        yield
    finally:
        sys.settrace(before)


def test_suffixes_of_local_tensors_hold_in_training_and_generation() -> None:
    decoder = small_decoder(context_tokens=2 * QUERIES_PER_BLOCK)
    found: list[str] = []
    checked: set[str] = set()
    with watching(found, checked):
        decoder.loss(*recollections(3, QUERIES_PER_BLOCK + 5)).backward()
        decoder(recollections(3, 9)[0])
        decoder.loss(*recollections(2, 7), documents_BT=torch.arange(7).div(3).long().expand(2, 7))
        sampling = Sampling(max_tokens=4, repetition_penalty=1.1, top_k=9)
        generate_batch(decoder, [[1, 2, 3], [4]], sampling=sampling, stop=frozenset({7}), seed=0)
    assert found == []
    assert {"attention.py:_block:score_XMS", "loss.py:backward:grad_head_VD", "sampling.py:adjusted:cut_BV"} <= checked
    unnamed = {each.split(":")[-1] for each in checked if not SUFFIX.search(each)}
    scalars_and_parameters = {"total", "per_target", "grad_loss", "scale", "loss", "weight", "parameter", "tensor"}
    assert unnamed <= scalars_and_parameters, "every other tensor says its dimensions"


def test_the_check_itself_finds_a_wrong_rank_and_a_letter_of_two_sizes() -> None:
    assert misnamed({"x_BTD": torch.zeros(2, 3)}) == ["x_BTD has shape (2, 3)"]
    assert misnamed({"x_BT": torch.zeros(2, 3), "y_TD": torch.zeros(4, 5)}) == ["T is 3, and 4 in y_TD"]
    assert misnamed({"B": 7, "x_B": torch.zeros(2)}) == ["B is 7, and 2 in x_B"]
    assert misnamed({"x_B1": torch.zeros(2, 3)}) == ["1 is 1, and 3 in x_B1"]


@pytest.mark.parametrize("path", sorted(MODEL.glob("*.py")), ids=lambda path: path.name)
def test_each_file_explains_the_letters_that_it_uses(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used = {letter for name in names if not name.isupper() and (found := SUFFIX.search(name)) for letter in found[1]}
    explained = set(re.findall(r"(?:^|· )([A-Z])(?= )", ast.get_docstring(tree) or "", flags=re.MULTILINE))
    assert used - {"1"} <= explained, f"{path.name} has no legend for {sorted(used - {'1'} - explained)}"
