"""Roles read from names: what each project calls the tensors of a decoder."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fromscratch.anatomy.structure.roles import FusedOrder, Part, Role, RotaryLayout

__all__ = ["NAMINGS", "Naming", "read_names"]


@dataclass(frozen=True)
class Naming:
    """What one project calls its tensors, without the ending ``.weight`` or ``.bias``."""

    title: str
    """As it is told to people."""
    layer: str
    """What precedes a layer's number, its last part: ``model.layers``."""
    inside: Mapping[str, Role]
    """Within a layer."""
    outside: Mapping[str, Role]
    rotary: RotaryLayout | None = "half_split"
    """How its code pairs the numbers of a head, where positions are rotary."""
    grouped: tuple[str, ...] = ()
    """Fused tensors whose rows go key/value head by key/value head."""
    post_norm: bool = False
    """Norms are of the sum of the stream and what is added to it, as in the first Transformer."""


def _roles(words: str) -> dict[str, Role]:
    """``stem role`` lines, or several stems before one role."""
    lines = (line.split() for line in words.strip().splitlines())
    return {stem: Role(stems[-1]) for stems in lines for stem in stems[:-1]}


LLAMA_INSIDE = """
input_layernorm                                          attention_norm
self_attn.q_proj                                         query
self_attn.k_proj                                         key
self_attn.v_proj                                         value
self_attn.qkv_proj self_attn.W_pack                      query_key_value
self_attn.o_proj self_attn.dense                         attention_output
self_attn.q_norm self_attn.q_layernorm                   query_norm
self_attn.k_norm self_attn.k_layernorm                   key_norm
self_attn.rotary_emb.inv_freq                            rotary_frequencies
post_attention_layernorm                                 mlp_norm
post_self_attn_layernorm                                 post_attention_norm
post_mlp_layernorm                                       post_mlp_norm
mlp.gate_proj                                            gate
mlp.up_proj mlp.fc1 mlp.c_fc                             up
mlp.gate_up_proj                                         gate_up
mlp.down_proj mlp.fc2 mlp.c_proj                         down
"""
LLAMA_OUTSIDE = """
embed_tokens                     embedding
norm final_layernorm             final_norm
lm_head                          head
rotary_emb.inv_freq              rotary_frequencies
"""
YI_INSIDE = LLAMA_INSIDE.replace("input_layernorm ", "ln1 ").replace("post_attention_layernorm ", "ln2 ")
GEMMA_INSIDE = LLAMA_INSIDE.replace(
    "post_attention_layernorm                                 mlp_norm",
    "post_attention_layernorm post_attention_norm\npre_feedforward_layernorm mlp_norm\n"
    "post_feedforward_layernorm post_mlp_norm",
)  # the same name is the norm of an output here
GPT2_INSIDE = """
ln_1                     attention_norm
attn.c_attn              query_key_value
attn.c_proj              attention_output
attn attn.masked_bias    causal_mask
ln_2                     mlp_norm
mlp.c_fc                 up
mlp.c_proj               down
"""
NEOX_INSIDE = """
input_layernorm                   attention_norm
attention.query_key_value         query_key_value
attention.dense                   attention_output
attention attention.masked_bias   causal_mask
attention.rotary_emb.inv_freq     rotary_frequencies
post_attention_layernorm          mlp_norm
mlp.dense_h_to_4h                 up
mlp.dense_4h_to_h                 down
"""
LITGPT_INSIDE = """
norm_1                   attention_norm
attn.qkv attn.attn       query_key_value
attn.proj                attention_output
attn.norm_q              query_norm
attn.norm_k              key_norm
post_attention_norm      post_attention_norm
norm_2                   mlp_norm
mlp.fc_1                 gate
mlp.fc_2 mlp.fc          up
mlp.proj                 down
post_mlp_norm            post_mlp_norm
"""
GGUF_INSIDE = """
attn_norm                attention_norm
attn_q                   query
attn_k                   key
attn_v                   value
attn_qkv                 query_key_value
attn_output              attention_output
attn_q_norm              query_norm
attn_k_norm              key_norm
post_attention_norm      post_attention_norm
ffn_norm                 mlp_norm
ffn_gate                 gate
ffn_up                   up
ffn_down                 down
post_ffw_norm            post_mlp_norm
attn_output_norm         attention_norm
layer_output_norm        mlp_norm
"""
GGUF_OUTSIDE = """
token_embd           embedding
position_embd        position_embedding
output_norm          final_norm
output               head
rope_freqs           rotary_frequencies
token_types          token_type_embedding
token_embd_norm      embedding_norm
"""
INTERNLM2_INSIDE = """
attention_norm       attention_norm
attention.wqkv       query_key_value
attention.wo         attention_output
ffn_norm             mlp_norm
feed_forward.w1      gate
feed_forward.w3      up
feed_forward.w2      down
"""
META_INSIDE = """
attention_norm       attention_norm
attention.wq         query
attention.wk         key
attention.wv         value
attention.wo         attention_output
ffn_norm             mlp_norm
feed_forward.w1      gate
feed_forward.w3      up
feed_forward.w2      down
"""
OWN_INSIDE = """
attention_norm           attention_norm
attention.query          query
attention.key            key
attention.value          value
attention.output         attention_output
attention.query_norm     query_norm
attention.key_norm       key_norm
attention_output_norm    post_attention_norm
mlp_norm                 mlp_norm
mlp.gate                 gate
mlp.up                   up
mlp.down                 down
mlp_output_norm          post_mlp_norm
"""
BERT_INSIDE = """
attention.self.query         query
attention.self.key           key
attention.self.value         value
attention.output.dense       attention_output
attention.output.LayerNorm   attention_norm
intermediate.dense           up
output.dense                 down
output.LayerNorm             mlp_norm
"""
QWEN1_INSIDE = GPT2_INSIDE.replace("mlp.c_fc                 up", "mlp.w1 up\nmlp.w2 gate")
GPTJ_INSIDE = """
ln_1                                         attention_norm
attn.q_proj attn.attention.q_proj            query
attn.k_proj attn.attention.k_proj            key
attn.v_proj attn.attention.v_proj            value
attn.out_proj attn.attention.out_proj        attention_output
attn.attention attn.attention.masked_bias    causal_mask
ln_2                                         mlp_norm
mlp.fc_in mlp.c_fc                           up
mlp.fc_out mlp.c_proj                        down
"""
FALCON_INSIDE = """
input_layernorm ln_attn            attention_norm
self_attention.query_key_value     query_key_value
self_attention.dense               attention_output
post_attention_layernorm ln_mlp    mlp_norm
mlp.dense_h_to_4h                  up
mlp.dense_4h_to_h                  down
"""
MPT_INSIDE = """
norm_1               attention_norm
attn.Wqkv            query_key_value
attn.out_proj        attention_output
norm_2               mlp_norm
ffn.up_proj          up
ffn.down_proj        down
"""
OPT_INSIDE = """
self_attn_layer_norm     attention_norm
self_attn.q_proj         query
self_attn.k_proj         key
self_attn.v_proj         value
self_attn.out_proj       attention_output
final_layer_norm         mlp_norm
fc1                      up
fc2                      down
"""

NAMINGS = (
    Naming("Llama's", "model.layers", _roles(LLAMA_INSIDE), _roles(LLAMA_OUTSIDE)),
    Naming("those of Yi's first upload", "model.layers", _roles(YI_INSIDE), _roles(LLAMA_OUTSIDE)),
    Naming("Gemma's and OLMo 2's", "model.layers", _roles(GEMMA_INSIDE), _roles(LLAMA_OUTSIDE)),
    Naming(
        "InternLM2's",
        "model.layers",
        _roles(INTERNLM2_INSIDE),
        _roles("tok_embeddings embedding\nnorm final_norm\noutput head"),
        grouped=("attention.wqkv",),
    ),
    Naming(
        "Meta's own",
        "layers",
        _roles(META_INSIDE),
        _roles("tok_embeddings embedding\nnorm final_norm\noutput head\nrope.freqs rotary_frequencies"),
        "interleaved",
    ),
    Naming(
        "our own",
        "layers",
        _roles(OWN_INSIDE),
        _roles("embedding embedding\nposition_embedding position_embedding\nfinal_norm final_norm\nhead head"),
    ),
    Naming(
        "GPT-2's",
        "h",
        _roles(GPT2_INSIDE),
        _roles("wte embedding\nwpe position_embedding\nln_f final_norm\nlm_head head"),
        None,
    ),
    Naming(
        "GPT-J's and GPT-Neo's",
        "h",
        _roles(GPTJ_INSIDE),
        _roles("wte embedding\nwpe position_embedding\nln_f final_norm\nlm_head head"),
        "interleaved",
    ),
    Naming("Qwen's first", "h", _roles(QWEN1_INSIDE), _roles("wte embedding\nln_f final_norm\nlm_head head")),
    Naming(
        "GPT-NeoX's",
        "gpt_neox.layers",
        _roles(NEOX_INSIDE),
        _roles("embed_in embedding\nfinal_layer_norm final_norm\nembed_out lm_head head"),
        grouped=("attention.query_key_value",),
    ),
    Naming(
        "LitGPT's",
        "h",
        _roles(LITGPT_INSIDE),
        _roles("wte embedding\nwpe position_embedding\nln_f final_norm\nlm_head head"),
        grouped=("attn.attn",),
    ),
    Naming("GGUF's", "blk", _roles(GGUF_INSIDE), _roles(GGUF_OUTSIDE), None),
    Naming(
        "BERT's",
        "encoder.layer",
        _roles(BERT_INSIDE),
        _roles(
            "embeddings.word_embeddings embedding\nembeddings.position_embeddings position_embedding\n"
            "embeddings.token_type_embeddings token_type_embedding\nembeddings.LayerNorm embedding_norm"
        ),
        None,
        post_norm=True,
    ),
    Naming(
        "Falcon's and BLOOM's",
        "h",
        _roles(FALCON_INSIDE),
        _roles("word_embeddings embedding\nword_embeddings_layernorm embedding_norm\nln_f final_norm\nlm_head head"),
        None,
        grouped=("self_attention.query_key_value",),
    ),
    Naming(
        "MPT's",
        "blocks",
        _roles(MPT_INSIDE),
        _roles("wte embedding\nwpe position_embedding\nnorm_f final_norm\nlm_head head"),
        None,
    ),
    Naming(
        "OPT's",
        "decoder.layers",
        _roles(OPT_INSIDE),
        _roles("embed_tokens embedding\nembed_positions position_embedding\nfinal_layer_norm final_norm\nlm_head head"),
        None,
    ),
)


def read_names(names: Iterable[str]) -> tuple[Naming | None, dict[str, Part]]:
    """The naming that explains most of these names, and each tensor's part in it; unexplained ones are ``unknown``.

    Wrappers before the names (``module.``, ``_orig_mod.``, ``base_model.``) do not matter. None where no naming gives
    an embedding and a layer their places.
    """
    every = list(names)
    best, best_parts, best_known = None, {name: Part(name, Role.UNKNOWN, None) for name in every}, 0
    for naming in NAMINGS:
        parts = _parts(naming, every)
        known = sum(part.role != Role.UNKNOWN for part in parts.values())
        has = {part.role for part in parts.values()}
        if known > best_known and Role.EMBEDDING in has and has & {Role.DOWN, Role.ATTENTION_OUTPUT}:
            best, best_parts, best_known = naming, parts, known
    return best, best_parts


def _parts(naming: Naming, names: list[str]) -> dict[str, Part]:
    in_layer = re.compile(rf"(?:.*\.)?{re.escape(naming.layer)}\.(\d{{1,5}})\.(.+)")
    parts = {}
    for name in names:
        found = in_layer.fullmatch(name)
        role, order = _role(naming, found[2] if found else name, naming.inside if found else naming.outside)
        parts[name] = Part(name, role, int(found[1]) if found and role != Role.UNKNOWN else None, order=order)
    return _without_doubles(parts)


def _role(naming: Naming, full: str, known: Mapping[str, Role]) -> tuple[Role, FusedOrder]:
    stem, _, ending = full.rpartition(".")
    if full in known:  # ``inv_freq`` and other buffers have no ending
        return known[full], "stacked"
    while stem and stem not in known and known is naming.outside:
        _, _, stem = stem.partition(".")  # a wrapper, such as ``transformer.``
    role = known.get(stem, Role.UNKNOWN)
    if ending not in ("weight", "bias", "gamma", "beta") or role == Role.UNKNOWN:
        return Role.UNKNOWN, "stacked"
    if role.is_weight and ending in ("bias", "beta"):
        role = role.bias if f"{role.value}_bias" in set(Role) else Role.UNKNOWN
    return role, "grouped" if stem in naming.grouped else "stacked"


def _without_doubles(parts: dict[str, Part]) -> dict[str, Part]:
    """Two tensors in one place (a second tower, an adapter) are both unknown: a guess would be worse."""
    places = Counter((part.role, part.layer) for part in parts.values() if part.role.is_weight)
    return {
        name: part
        if part.role == Role.UNKNOWN or not part.role.is_weight or places[part.role, part.layer] == 1
        else Part(name, Role.UNKNOWN, None)
        for name, part in parts.items()
    }
