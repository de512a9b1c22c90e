"""A GPU that is asked for and not there is refused, never replaced in silence."""

import pytest
import torch

from fromscratch.core.errors import FromScratchError
from fromscratch.core.workplace import Machine
from fromscratch.model.device import choose_device


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(Machine()).type == choose_device(Machine(device="cpu")).type == "cpu"
    with pytest.raises(FromScratchError, match="sees no GPU here"):
        choose_device(Machine(device="cuda"))


def test_a_gpu_is_taken_unless_the_settings_say_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device(Machine()).type == choose_device(Machine(device="cuda")).type == "cuda"
    assert choose_device(Machine(device="cpu")).type == "cpu"
