"""Small decoders for the tests of the model, and the `transformers` model that each is compared with."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from fromscratch.model.decoder import Decoder
from fromscratch.model.initial import initialise
from fromscratch.model.llama_names import llama_config, to_llama_name
from fromscratch.model.loss import IGNORED
from fromscratch.model.settings import DecoderSettings, RotaryPositions

VOCABULARY = 96


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def small_settings(**changes: Any) -> DecoderSettings:
    """Two layers, four query heads over two key/value heads, and a base and epsilon other than the defaults."""
    plain = {"layers": 2, "width": 32, "heads": 4, "kv_heads": 2, "ffn_width": 48, "context_tokens": 160}
    return DecoderSettings(**{**plain, "positions": RotaryPositions(base=500.0), "norm_epsilon": 1e-6, **changes})


def small_decoder(seed: int = 0, **changes: Any) -> Decoder:
    decoder = Decoder(small_settings(**changes), VOCABULARY)
    initialise(decoder, seed)
    return decoder


def recollections(rows: int, tokens: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random tokens, and as targets the token of two positions earlier, which only its position tells."""
    tokens_BT = torch.randint(VOCABULARY, (rows, tokens), generator=torch.Generator().manual_seed(seed))
    targets_BT = tokens_BT.roll(2, 1)
    targets_BT[:, :2] = IGNORED
    return tokens_BT, targets_BT


@cache
def _weights_after_brief_training(**changes: Any) -> dict[str, Tensor]:
    decoder = small_decoder(**changes)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=5e-3)
    for step in range(60):
        optimizer.zero_grad()
        decoder.loss(*recollections(8, 96, seed=step)).backward()
        optimizer.step()
    return decoder.state_dict()


def trained_decoder(**changes: Any) -> Decoder:
    """Trained until attention depends on the positions, which it hardly does at random initial weights."""
    decoder = small_decoder(**changes)
    decoder.load_state_dict(_weights_after_brief_training(**changes))
    return decoder


def peer_of(decoder: Decoder) -> LlamaForCausalLM:
    """`transformers`' Llama with the weights of ``decoder``, by the names and the config of `llama_names`."""
    # No padding token, which would keep `transformers` from training that row of the embedding.
    config = llama_config(decoder.settings, decoder.vocabulary, beginning_id=1, end_ids=[2], padding_id=None)
    peer = LlamaForCausalLM(LlamaConfig(**config, attn_implementation="eager"))
    weights = {to_llama_name(name): each.detach().clone() for name, each in decoder.named_parameters()}
    missing, unexpected = peer.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    peer.tie_weights()
    return peer.eval()
