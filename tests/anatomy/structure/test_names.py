"""Names of many projects are read as roles."""

from collections import Counter

import pytest

from fromscratch.anatomy.structure.names import read_names
from fromscratch.anatomy.structure.roles import Part, Role

# naming, names outside the layers, prefix of a layer, names within it, roles within it
LLAMA = ["input_layernorm", "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
SPLIT = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
GATED = {"attention_norm", "mlp_norm", "gate", "up", "down"}
APART = {"query", "key", "value", "attention_output"}
OUTSIDE = ["model.embed_tokens", "model.norm", "lm_head"]
CASES = {
    "Llama": ("Llama's", OUTSIDE, "model.layers", LLAMA + SPLIT, GATED | APART),
    "the first Yi": (
        "those of Yi's first upload",
        OUTSIDE,
        "model.layers",
        ["ln1", "ln2", *LLAMA[2:], *SPLIT],
        GATED | APART,
    ),
    "Baichuan": (
        "Llama's",
        OUTSIDE,
        "model.layers",
        [*LLAMA, "self_attn.W_pack", "self_attn.o_proj"],
        GATED | {"query_key_value", "attention_output"},
    ),
    "Phi 3": (
        "Llama's",
        OUTSIDE,
        "model.layers",
        [*LLAMA[:2], "mlp.gate_up_proj", "mlp.down_proj", "self_attn.qkv_proj", "self_attn.o_proj"],
        {"attention_norm", "mlp_norm", "gate_up", "down", "query_key_value", "attention_output"},
    ),
    "Qwen 3": (
        "Llama's",
        OUTSIDE,
        "model.layers",
        [*LLAMA, *SPLIT, "self_attn.q_norm", "self_attn.k_norm"],
        GATED | APART | {"query_norm", "key_norm"},
    ),
    "Gemma 2": (
        "Gemma's and OLMo 2's",
        OUTSIDE[:2],
        "model.layers",
        [*LLAMA, *SPLIT, "pre_feedforward_layernorm", "post_feedforward_layernorm"],
        GATED | APART | {"post_attention_norm", "post_mlp_norm"},
    ),
    "InternLM 2": (
        "InternLM2's",
        ["model.tok_embeddings", "model.norm", "output"],
        "model.layers",
        ["attention_norm", "attention.wqkv", "attention.wo", "ffn_norm"]
        + [f"feed_forward.w{number}" for number in (1, 2, 3)],
        GATED | {"query_key_value", "attention_output"},
    ),
    "GPT-2, wrapped": (
        "GPT-2's",
        ["module.transformer.wte", "module.transformer.wpe", "module.transformer.ln_f"],
        "module.transformer.h",
        ["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"],
        {"attention_norm", "mlp_norm", "up", "down", "query_key_value", "attention_output"},
    ),
    "Pythia": (
        "GPT-NeoX's",
        ["gpt_neox.embed_in", "gpt_neox.final_layer_norm", "embed_out"],
        "gpt_neox.layers",
        [*LLAMA[:2], "attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"],
        {"attention_norm", "mlp_norm", "up", "down", "query_key_value", "attention_output"},
    ),
    "LitGPT": (
        "LitGPT's",
        ["transformer.wte", "transformer.ln_f", "lm_head"],
        "transformer.h",
        ["norm_1", "attn.attn", "attn.proj", "norm_2", "mlp.fc_1", "mlp.fc_2", "mlp.proj"],
        GATED | {"query_key_value", "attention_output"},
    ),
    "GGUF": (
        "GGUF's",
        ["token_embd", "output_norm", "output"],
        "blk",
        ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"],
        GATED | APART,
    ),
    "our own": (
        "our own",
        ["embedding", "final_norm", "head"],
        "layers",
        [f"attention.{part}" for part in ("query", "key", "value", "output")]
        + [f"{part}_norm" for part in ("attention", "mlp")]
        + [f"mlp.{part}" for part in ("gate", "up", "down")],
        GATED | APART,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_name_of_a_project_has_its_role_in_its_layer(case: str) -> None:
    title, outside, prefix, inside, roles = CASES[case]
    names = [f"{name}.weight" for name in outside]
    names += [f"{prefix}.{layer}.{name}.weight" for layer in range(12) for name in inside]
    naming, parts = read_names(names)
    assert naming is not None and naming.title == title
    assert not [name for name, part in parts.items() if part.role == Role.UNKNOWN]
    for layer in range(12):
        assert Counter(part.role.value for part in parts.values() if part.layer == layer) == Counter(roles)


def test_biases_and_buffers_have_roles_of_their_own() -> None:
    prefix = "gpt_neox.layers.0."
    names = ["gpt_neox.embed_in.weight", f"{prefix}mlp.dense_4h_to_h.weight", f"{prefix}attention.dense.bias"]
    names += [f"{prefix}attention.rotary_emb.inv_freq", f"{prefix}attention.masked_bias", f"{prefix}attention.bias"]
    parts = read_names(names)[1]
    assert [parts[name].role for name in names[2:]] == [
        Role.ATTENTION_OUTPUT_BIAS,
        Role.ROTARY_FREQUENCIES,
        Role.CAUSAL_MASK,
        Role.CAUSAL_MASK,
    ]
    assert [part.role.is_weight for part in parts.values()] == [True, True, True, False, False, False]


def test_fused_tensors_say_how_their_rows_lie() -> None:
    def order(*names: str) -> str:
        return next(part.order for part in read_names(names)[1].values() if part.role == Role.QUERY_KEY_VALUE)

    old, new = (("transformer.wte.weight", f"transformer.h.0.attn.{name}.weight") for name in ("attn", "qkv"))
    rest = "transformer.h.0.mlp.proj.weight"
    assert order(*old, rest) == "grouped" and order(*new, rest) == "stacked"


def test_two_tensors_in_one_place_are_both_unknown() -> None:
    names = ["model.embed_tokens.weight", "model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.fc1.weight"]
    names.append("model.layers.0.mlp.up_proj.weight")
    parts = read_names(names)[1]
    assert parts[names[1]] == Part(names[1], Role.DOWN, 0)
    assert parts[names[2]].role == parts[names[3]].role == Role.UNKNOWN


def test_names_of_nobody_are_not_guessed_at() -> None:
    naming, parts = read_names(["a.0.weight", "a.1.weight", "layers.0.b.weight"])
    assert naming is None and {part.role for part in parts.values()} == {Role.UNKNOWN}
