"""Pretraining goes on from a model that is there; one that does not fit the recipe or its tokenizer is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fromscratch.core.errors import FromScratchError
from fromscratch.model.decoder import Decoder
from fromscratch.model.files import copy_weights, load_model, save_model
from fromscratch.model.initial import initialise
from fromscratch.model.settings import DecoderSettings, LinearScaling, RotaryPositions
from fromscratch.train.pretrain import begin
from fromscratch.train.start import refuse_other_tokenizer, start_inputs

SHAPE = DecoderSettings(layers=2, width=16, heads=2, kv_heads=1, ffn_width=24, context_tokens=32)
TOKENIZER = {"model": {"vocab": {"a": 0, "b": 1}, "merges": []}, "added_tokens": [], "pre_tokenizer": None}


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A model as `fromscratch import` leaves it, with its tokenizer."""
    decoder = Decoder(SHAPE, 40)
    initialise(decoder, 3)
    save_model(tmp_path / "start", decoder)
    write(tmp_path / "start" / "tokenizer.json", TOKENIZER)
    return tmp_path / "start"


def write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def test_the_first_weights_are_those_of_the_model(start: Path, tmp_path: Path) -> None:
    write(tmp_path / "tokenizer" / "tokenizer.json", TOKENIZER)
    longer = SHAPE.model_copy(update={"context_tokens": 64, "positions": RotaryPositions(base=1e6)})
    decoder = Decoder(longer, 40)
    begin(decoder, 0, str(start), tmp_path / "tokens")
    expected = dict(load_model(start).named_parameters())
    assert all(torch.equal(each, expected[name]) for name, each in decoder.named_parameters())
    assert decoder.settings.context_tokens == 64


def test_without_a_model_they_are_drawn(tmp_path: Path) -> None:
    one, other = Decoder(SHAPE, 40), Decoder(SHAPE, 40)
    begin(one, 5, None, tmp_path)
    initialise(other, 5)
    assert torch.equal(one.embedding.weight, other.embedding.weight)


def test_the_model_is_an_input_by_its_digest(start: Path) -> None:
    assert start_inputs(None, SHAPE) == {}
    before = start_inputs(str(start), SHAPE)
    assert list(before) == ["pretrain.init_from"]
    decoder = Decoder(SHAPE, 40)
    initialise(decoder, 4)
    save_model(start, decoder)
    assert start_inputs(str(start), SHAPE) != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 4}, r"`model\.heads` = 4, and the model of `pretrain\.init_from` has 2"),
        ({"norm_epsilon": 1e-6}, r"`model\.norm_epsilon` = 1e-06, .* has 1e-05"),
        ({"head": "tied"}, r'`model\.head` = "tied"'),
    ],
)
def test_another_decoder_is_refused_by_its_setting(start: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FromScratchError, match=message):
        start_inputs(str(start), SHAPE.model_copy(update=changes))


def test_how_far_positions_reach_may_change(start: Path) -> None:
    further = RotaryPositions(base=1e7, scaling=LinearScaling(factor=4))
    assert start_inputs(str(start), SHAPE.model_copy(update={"positions": further, "context_tokens": 4096}))


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FromScratchError, match=r"no model\.json there\nhint: `fromscratch import MODEL --out DIR`"):
        start_inputs(str(tmp_path), SHAPE)


def test_weights_of_another_vocabulary_are_refused_by_the_tensor(start: Path) -> None:
    with pytest.raises(
        FromScratchError, match=r"`embedding\.weight` is \[40, 16\], where the settings ask for \[41, 16\]"
    ):
        copy_weights(Decoder(SHAPE, 41), start)


def test_another_tokenizer_is_refused_and_the_same_one_is_not(start: Path, tmp_path: Path) -> None:
    ours = tmp_path / "tokenizer" / "tokenizer.json"
    write(ours, {**TOKENIZER, "version": "1.0", "post_processor": None})
    refuse_other_tokenizer(str(start), ours)
    write(ours, {**TOKENIZER, "model": {"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})
    with pytest.raises(FromScratchError, match="has 2 pieces, and the tokenizer of this run has 3"):
        refuse_other_tokenizer(str(start), ours)
    write(ours, {**TOKENIZER, "model": {"vocab": {"a": 1, "b": 0}, "merges": []}})
    with pytest.raises(FromScratchError, match="has as many others"):
        refuse_other_tokenizer(str(start), ours)
    (start / "tokenizer.json").unlink()
    write(ours, TOKENIZER)  # this is also where the tokenizer of the run lies that `start` is a stage of
    refuse_other_tokenizer(str(start), ours)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(FromScratchError, match=r"no tokenizer\.json there"):
        refuse_other_tokenizer(str(elsewhere / "start"), ours)
