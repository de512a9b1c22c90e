"""8-bit products are refused in a sentence where they cannot run."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from fromscratch.core.errors import FromScratchError
from fromscratch.model import fp8

from .conftest import small_decoder

GPU = torch.device("cuda")


def test_a_cpu_an_older_gpu_and_a_missing_torchao_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FromScratchError, match="needs a GPU, and the model is on the cpu"):
        fp8.refuse_fp8_where_it_cannot_run(torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    with pytest.raises(FromScratchError, match=r"capability 8\.9 .* this one has 8\.0"):
        fp8.refuse_fp8_where_it_cannot_run(GPU)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(fp8, "find_spec", lambda _: None)
    with pytest.raises(FromScratchError, match="needs torchao") as refused:
        fp8.refuse_fp8_where_it_cannot_run(GPU)
    assert "pip install torchao" in refused.value.hint
    monkeypatch.setattr(fp8, "find_spec", lambda _: object())
    fp8.refuse_fp8_where_it_cannot_run(GPU)


def test_the_linear_maps_of_the_layers_whose_sides_fit_are_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    picked: list[str] = []

    def convert(module: nn.Module, *, config: Any, module_filter_fn: Any) -> None:
        assert config == "tensorwise"
        picked.extend(name for name, each in module.named_modules() if module_filter_fn(each, name))

    config = SimpleNamespace(from_recipe_name=lambda name: name)
    library = SimpleNamespace(Float8LinearConfig=config, convert_to_float8_training=convert)
    monkeypatch.setattr(fp8, "import_module", lambda _: library)
    fp8.use_fp8(small_decoder(layers=1, width=32, ffn_width=40))
    assert picked == [f"0.attention.{name}" for name in ("query", "key", "value", "output")]
