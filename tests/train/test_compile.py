"""Compiling: chosen by the length of the run, refused in a sentence, and the same losses."""

from typing import Any

import pytest
import torch

from fromscratch.model.decoder import Decoder
from fromscratch.model.initial import initialise
from fromscratch.model.settings import DecoderSettings
from fromscratch.train.compile import compile_where_it_pays, compiling_pays

SHAPE = DecoderSettings(layers=1, width=16, heads=2, kv_heads=1, ffn_width=32, context_tokens=16)


def decoder() -> Decoder:
    made = Decoder(SHAPE, 50)
    initialise(made, 0)
    return made


def is_compiled(made: Decoder) -> bool:
    return "loss" in vars(made)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_longer_run_pays_where_a_shorter_one_does_not(device: str) -> None:
    verdicts = [compiling_pays(device, 5e7, 10**digits) for digits in range(4, 14)]
    assert verdicts == sorted(verdicts) and {*verdicts} == {True, False}


@pytest.mark.parametrize(
    ("asked", "steps", "compiled"),
    [("auto", 100, False), ("auto", 10**9, True), ("never", 10**9, False), ("always", 1, True)],
)
def test_what_is_asked_for_and_how_long_the_run_is_decide(asked: Any, steps: int, compiled: bool) -> None:
    made = decoder()
    compile_where_it_pays(made, asked, 1_000 * steps)
    assert is_compiled(made) == compiled


def test_without_a_compiler_the_steps_stay_eager_and_a_line_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    made = decoder()
    compile_where_it_pays(made, "always", 1_000)
    assert not is_compiled(made)
    assert capsys.readouterr().err == "steps are not compiled: this machine has no C++ compiler\n"


def test_documents_of_any_length_are_not_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    made = decoder()
    made.document_end = 2
    compile_where_it_pays(made, "always", 1_000)
    assert not is_compiled(made)
    assert "within documents" in capsys.readouterr().err


@pytest.mark.slow
def test_compiled_steps_give_the_losses_of_eager_ones() -> None:
    plain, compiled = decoder(), decoder()
    compile_where_it_pays(compiled, "always", 1_000)
    tokens = torch.randint(0, 50, (2, 17), generator=torch.Generator().manual_seed(0))
    for made in (plain, compiled):
        made.loss(tokens[:, :-1], tokens[:, 1:]).backward()
    for one, two in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)
