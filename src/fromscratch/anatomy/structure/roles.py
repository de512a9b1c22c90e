"""Roles that tensors play in a decoder, and what was found out about a checkpoint, with its evidence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

__all__ = ["Confidence", "Finding", "FusedOrder", "Part", "Role", "RotaryLayout", "Structure"]

Confidence = Literal["certain", "strong", "weak", "claimed"]
"""``certain`` follows from shapes or from equal numbers; ``strong`` and ``weak`` are statistics of the weights, with a
wide margin and without; ``claimed`` is what names or a config say and weights cannot confirm."""

FusedOrder = Literal["stacked", "grouped"]
"""Rows of a fused tensor: all queries, then all keys, then all values (phi3, baichuan, GPT-2); or, key/value head by
key/value head, its queries, its key, its value (GPT-NeoX, InternLM2). Gates and ups: all gates first, or in turns."""

RotaryLayout = Literal["half_split", "interleaved"]
"""Which numbers of a head turn together: k and k + head width / 2 (transformers), or 2 k and 2 k + 1 (Meta's files,
GGUF of Llama)."""


class Role(StrEnum):
    """What a tensor does; a bias is its own role, called after what it is added to."""

    EMBEDDING = "embedding"
    POSITION_EMBEDDING = "position_embedding"
    TOKEN_TYPE_EMBEDDING = "token_type_embedding"
    EMBEDDING_NORM = "embedding_norm"
    ATTENTION_NORM = "attention_norm"
    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    KEY_VALUE = "key_value"
    QUERY_KEY_VALUE = "query_key_value"
    QUERY_NORM = "query_norm"
    KEY_NORM = "key_norm"
    ATTENTION_OUTPUT = "attention_output"
    POST_ATTENTION_NORM = "post_attention_norm"
    MLP_NORM = "mlp_norm"
    GATE = "gate"
    UP = "up"
    GATE_UP = "gate_up"
    DOWN = "down"
    POST_MLP_NORM = "post_mlp_norm"
    FINAL_NORM = "final_norm"
    HEAD = "head"

    EMBEDDING_NORM_BIAS = "embedding_norm_bias"
    ATTENTION_NORM_BIAS = "attention_norm_bias"
    QUERY_BIAS = "query_bias"
    KEY_BIAS = "key_bias"
    VALUE_BIAS = "value_bias"
    KEY_VALUE_BIAS = "key_value_bias"
    QUERY_KEY_VALUE_BIAS = "query_key_value_bias"
    QUERY_NORM_BIAS = "query_norm_bias"
    KEY_NORM_BIAS = "key_norm_bias"
    ATTENTION_OUTPUT_BIAS = "attention_output_bias"
    POST_ATTENTION_NORM_BIAS = "post_attention_norm_bias"
    MLP_NORM_BIAS = "mlp_norm_bias"
    GATE_BIAS = "gate_bias"
    UP_BIAS = "up_bias"
    GATE_UP_BIAS = "gate_up_bias"
    DOWN_BIAS = "down_bias"
    POST_MLP_NORM_BIAS = "post_mlp_norm_bias"
    FINAL_NORM_BIAS = "final_norm_bias"
    HEAD_BIAS = "head_bias"

    ROTARY_FREQUENCIES = "rotary_frequencies"
    """Derived from the settings; no weight."""
    CAUSAL_MASK = "causal_mask"
    """A buffer of old files; no weight."""
    UNKNOWN = "unknown"

    @property
    def is_weight(self) -> bool:
        """Whether training changes it; buffers that code makes again are not weights."""
        return self not in (Role.ROTARY_FREQUENCIES, Role.CAUSAL_MASK)

    @property
    def bias(self) -> "Role":
        """The role of what is added to this one's product. ValueError where there is none."""
        return Role(f"{self.value}_bias")


@dataclass(frozen=True)
class Part:
    """One tensor in its role."""

    name: str
    role: Role
    layer: int | None
    """Counted from 0 in the order in which the stream passes; None outside the layers, or where it is not known."""
    transposed: bool = False
    """Stored (in, out), as GPT-2's, where PyTorch's ``Linear`` has (out, in)."""
    order: FusedOrder = "stacked"
    """Of a fused tensor."""
    shape: tuple[int, ...] = ()
    """As stored, outermost axis first."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found, how sure it is, and why."""

    value: str
    confidence: Confidence
    evidence: str
    """One sentence with the numbers."""


@dataclass(frozen=True)
class Structure:
    """What a checkpoint is: its tensors in their roles, its sizes, its place on the four axes."""

    parts: Mapping[str, Part]
    """By the name that the tensor has in the file; every tensor of the checkpoint is there."""
    layers: int
    width: int
    mlp_width: int
    """Inner width of the MLP, of one of gate and up where they are fused."""
    query_heads: int | None
    kv_heads: int | None
    head_width: int | None
    vocabulary: int
    """Rows of the embedding, padding included."""
    tied: bool
    """Whether the output head is the embedding: none is stored, or it is stored twice with equal numbers."""
    rotary_layout: RotaryLayout | None = None
    """None where positions are not rotary, or it could not be told."""
    axes: Mapping[str, Finding] = field(default_factory=dict)
    """``attention``, ``activation``, ``normalisation``, ``positions``."""
    findings: Mapping[str, Finding] = field(default_factory=dict)
    """Everything else, by what it is about: ``layers``, ``roles``, ``order of layers``, ``heads``, ``naming`` …"""
    unknown: tuple[str, ...] = ()
    """What these weights cannot tell, or could not, a sentence each."""

    def name_of(self, role: Role, layer: int | None = None) -> str | None:
        """The tensor in this role (of this layer), or None."""
        return next((part.name for part in self.parts.values() if part.role == role and part.layer == layer), None)

    def of_role(self, role: Role) -> tuple[str, ...]:
        """Names of all tensors in this role, in the order of layers."""
        found = [part for part in self.parts.values() if part.role == role]
        return tuple(part.name for part in sorted(found, key=lambda part: -1 if part.layer is None else part.layer))
