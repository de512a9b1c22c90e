"""Saved decoders come back bit for bit, and what is damaged or does not belong together is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fromscratch.core.errors import FromScratchError
from fromscratch.model.files import load_model, save_model

from .conftest import recollections, small_decoder


def saved(folder: Path, seed: int = 0) -> Path:
    save_model(folder, small_decoder(seed))
    return folder


@pytest.mark.parametrize("head", ["tied", "untied"])
def test_a_saved_decoder_comes_back_bit_for_bit_and_trains_on(tmp_path: Path, head: str) -> None:
    decoder = small_decoder(head=head)
    save_model(tmp_path, decoder)
    again = load_model(tmp_path)
    assert again.settings == decoder.settings
    assert again.vocabulary == decoder.vocabulary
    batch = recollections(2, 20)
    assert torch.equal(again.loss(*batch), decoder.loss(*batch))
    again.loss(*batch).backward()
    torch.optim.SGD(again.parameters(), lr=0.1).step()
    assert not torch.equal(again.embedding.weight, decoder.embedding.weight)
    assert torch.equal(load_model(tmp_path).embedding.weight, decoder.embedding.weight), "the file is as it was"


def test_a_loaded_decoder_stays_as_it_is_when_its_file_is_written_over(tmp_path: Path) -> None:
    decoder = load_model(saved(tmp_path))
    path = tmp_path / "model.safetensors"
    size = path.stat().st_size
    with path.open("r+b") as file:  # in place, as `cp` does it
        file.write(bytes(size))
    assert torch.equal(decoder.head_weight, small_decoder().head_weight)


def test_equal_decoders_give_equal_bytes(tmp_path: Path) -> None:
    first, second = saved(tmp_path / "first"), saved(tmp_path / "second")
    names = sorted(each.name for each in first.iterdir())
    assert names == ["model.json", "model.safetensors"]
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def flip_one_bit(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def take_weights_of_another(folder: Path) -> None:
    other = saved(folder / "other", seed=1)
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())


def edit(**changes: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "model.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), "model.json: no such file"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors: no such file"),
        (lambda folder: (folder / "model.json").write_text("{"), "model.json: not a model description"),
        (edit(vocabulary="many"), "model.json: not a model description (`vocabulary` is no int)"),
        (edit(vocabulary=97), "tensor `embedding.weight` is [96, 32], where the settings ask for [97, 32]"),
        (edit(settings={"layers": 2}), "model.json: settings: `width` is missing"),
        (cut, "model.safetensors: not a whole safetensors file"),
        (flip_one_bit, "model.safetensors: its content is not what model.json was written for"),
        (take_weights_of_another, "model.safetensors: its content is not what model.json was written for"),
    ],
)
def test_damaged_and_mismatched_files_are_refused(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    saved(tmp_path)
    damage(tmp_path)
    with pytest.raises(FromScratchError) as caught:
        load_model(tmp_path)
    assert str(tmp_path) in caught.value.message
    assert message in caught.value.message


def test_a_save_that_fails_leaves_the_old_model_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path)

    def fail(*_arguments: object, **_settings: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("fromscratch.model.files.save_file", fail)
    with pytest.raises(OSError, match="no space"):
        save_model(tmp_path, small_decoder(1))
    assert torch.equal(load_model(tmp_path).embedding.weight, small_decoder(0).embedding.weight)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
