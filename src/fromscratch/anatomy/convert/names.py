"""What each project calls a tensor of each role, and which tensors it keeps in one."""

from collections.abc import Mapping
from dataclasses import dataclass

from fromscratch.anatomy.structure.roles import Role, RotaryLayout

__all__ = ["TARGETS", "Names", "target_names"]

TARGETS = ("llama", "yi", "gguf", "litgpt", "native")


@dataclass(frozen=True)
class Names:
    """How one project lays a decoder out: names by role, ``{}`` standing for the layer."""

    of_role: Mapping[Role, str]
    layout: RotaryLayout = "half_split"
    """Which numbers of a head turn together."""
    stacked: bool = False
    """Queries, keys and values are one tensor, one below the other."""


# Role: ours, Llama's, GGUF's, LitGPT's. Names without weight or bias at their end.
WEIGHTS: Mapping[Role, tuple[str, str | None, str | None, str | None]] = {
    Role.EMBEDDING: ("embedding", "model.embed_tokens", "token_embd", "transformer.wte"),
    Role.POSITION_EMBEDDING: ("position_embedding", None, "position_embd", None),
    Role.ATTENTION_NORM: (
        "layers.{}.attention_norm",
        "model.layers.{}.input_layernorm",
        "blk.{}.attn_norm",
        "transformer.h.{}.norm_1",
    ),
    Role.QUERY: ("layers.{}.attention.query", "model.layers.{}.self_attn.q_proj", "blk.{}.attn_q", None),
    Role.KEY: ("layers.{}.attention.key", "model.layers.{}.self_attn.k_proj", "blk.{}.attn_k", None),
    Role.VALUE: ("layers.{}.attention.value", "model.layers.{}.self_attn.v_proj", "blk.{}.attn_v", None),
    Role.QUERY_KEY_VALUE: ("", None, "blk.{}.attn_qkv", "transformer.h.{}.attn.qkv"),
    Role.QUERY_NORM: ("layers.{}.attention.query_norm", None, "blk.{}.attn_q_norm", "transformer.h.{}.attn.norm_q"),
    Role.KEY_NORM: ("layers.{}.attention.key_norm", None, "blk.{}.attn_k_norm", "transformer.h.{}.attn.norm_k"),
    Role.ATTENTION_OUTPUT: (
        "layers.{}.attention.output",
        "model.layers.{}.self_attn.o_proj",
        "blk.{}.attn_output",
        "transformer.h.{}.attn.proj",
    ),
    Role.POST_ATTENTION_NORM: ("layers.{}.attention_output_norm", None, None, None),
    Role.MLP_NORM: (
        "layers.{}.mlp_norm",
        "model.layers.{}.post_attention_layernorm",
        "blk.{}.ffn_norm",
        "transformer.h.{}.norm_2",
    ),
    Role.GATE: ("layers.{}.mlp.gate", "model.layers.{}.mlp.gate_proj", "blk.{}.ffn_gate", "transformer.h.{}.mlp.fc_1"),
    Role.UP: ("layers.{}.mlp.up", "model.layers.{}.mlp.up_proj", "blk.{}.ffn_up", "transformer.h.{}.mlp.fc_2"),
    Role.DOWN: ("layers.{}.mlp.down", "model.layers.{}.mlp.down_proj", "blk.{}.ffn_down", "transformer.h.{}.mlp.proj"),
    Role.POST_MLP_NORM: ("layers.{}.mlp_output_norm", None, None, None),
    Role.FINAL_NORM: ("final_norm", "model.norm", "output_norm", "transformer.ln_f"),
    Role.HEAD: ("head", "lm_head", "output", "lm_head"),
}
OURS, LLAMA, GGUF, LITGPT = range(4)
YI = {Role.ATTENTION_NORM: "model.layers.{}.ln1.weight", Role.MLP_NORM: "model.layers.{}.ln2.weight"}


def target_names(target: str, architecture: str = "llama") -> Names:
    """The names of one of ``TARGETS``; ``architecture`` is GGUF's, which decides the layout of its heads.

    llama.cpp turns neighbouring numbers of a head in its architecture ``llama`` and the halves of it in all others.
    """
    match target:
        case "native":
            return Names(_column(OURS))
        case "llama":
            return Names(_column(LLAMA))
        case "yi":
            return Names(_column(LLAMA) | YI)
        case "litgpt":
            return Names(_column(LITGPT), stacked=True)
        case _:
            layout: RotaryLayout = "interleaved" if architecture == "llama" else "half_split"
            return Names(_column(GGUF), layout, stacked=architecture == "gpt2")


def _column(project: int) -> dict[Role, str]:
    names: dict[Role, str] = {}
    for role, columns in WEIGHTS.items():
        if name := columns[project]:
            names[role] = f"{name}.weight"
            if f"{role.value}_bias" in list(Role):
                names[role.bias] = f"{name}.bias"
    return names
