"""The structure of a checkpoint: each tensor in its role, the sizes, the four axes, and how sure each of them is."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fromscratch.anatomy.structure.attention import Attention, find_attention
from fromscratch.anatomy.structure.axes import find_axes
from fromscratch.anatomy.structure.blind import FoundRoles, find_roles
from fromscratch.anatomy.structure.claims import Claims, read_claims
from fromscratch.anatomy.structure.names import Naming, read_names
from fromscratch.anatomy.structure.roles import Finding, Part, Role, RotaryLayout, Structure
from fromscratch.anatomy.structure.sizes import read_sizes, with_orientation
from fromscratch.anatomy.tensors import Checkpoint

__all__ = ["find_structure"]

EQUALITY_ROWS = 4096
GGUF_INTERLEAVED = frozenset(
    ("llama", "internlm2", "baichuan", "xverse", "command-r", "olmo", "deepseek", "minicpm", "granite")
)
"""Architectures whose queries and keys llama.cpp's conversion reorders, and whose neighbours it turns together."""


def find_structure(checkpoint: Checkpoint, blind: bool = False) -> Structure:
    """What this checkpoint is. ``blind`` reads neither names, nor their order, nor the config: only shapes and numbers.

    Where no known naming explains the tensors it is blind too. Whatever cannot be told is None or in ``unknown``.
    Raises FromScratchError where a tensor that has to be read is not sound.
    """
    naming, parts = (None, {}) if blind else read_names(checkpoint.tensors)
    parts = with_orientation(checkpoint, parts)
    findings = {} if blind else {"names": _naming_finding(naming, parts)}
    if naming is None:
        found = find_roles(checkpoint)
    else:
        found = FoundRoles(parts, parts, read_sizes(checkpoint, parts), frozenset(), {}, ())
    claims = read_claims({} if blind else checkpoint.config)
    layout = _claimed_layout(naming, claims, found.parts)
    attention = find_attention(checkpoint, found.together, found.sizes, claims, layout)
    tied, findings["head"] = _tied(checkpoint, found.parts)
    findings |= found.findings
    if attention.heads:
        findings["attention heads"] = attention.heads
    if found.sizes.layers:
        told = "; ".join(found.sizes.uneven) or "all of one shape"
        findings["layers"] = Finding(str(found.sizes.layers), "certain", told)
    return _structure(checkpoint, found, attention, claims, naming, tied, findings)


def _structure(
    checkpoint: Checkpoint,
    found: FoundRoles,
    attention: Attention,
    claims: Claims,
    naming: Naming | None,
    tied: bool,
    findings: Mapping[str, Finding],
) -> Structure:
    """All of it together."""
    roles = {part.role for part in found.parts.values()} | found.present
    strange = [name for name, part in found.parts.items() if part.role == Role.UNKNOWN]
    vectors_known = naming is not None or Role.ATTENTION_NORM in roles
    return Structure(
        parts={name: replace(part, shape=checkpoint.tensors[name].shape) for name, part in found.parts.items()},
        layers=found.sizes.layers,
        width=found.sizes.width,
        mlp_width=found.sizes.mlp_width,
        query_heads=attention.query_heads,
        kv_heads=attention.kv_heads,
        head_width=attention.head_width,
        vocabulary=found.sizes.vocabulary,
        tied=tied,
        rotary_layout=None if Role.POSITION_EMBEDDING in roles else attention.layout,
        axes=find_axes(roles, attention, claims, naming, found.sizes, strange, vectors_known),
        findings=findings,
        unknown=(*found.unknown, *_unknown(found.parts, claims, attention)),
    )


def _naming_finding(naming: Naming | None, parts: Mapping[str, Part]) -> Finding:
    strange = [name for name, part in parts.items() if part.role == Role.UNKNOWN]
    if naming is None:
        return Finding("unknown", "certain", "no known naming explains them; roles are found from shapes and numbers")
    told = f"{len(parts) - len(strange)} of {len(parts)} are explained"
    return Finding(naming.title, "certain", told + (f"; not {', '.join(strange[:3])}" if strange else ""))


def _claimed_layout(naming: Naming | None, claims: Claims, parts: Mapping[str, Part]) -> RotaryLayout | None:
    if naming is None or any(part.role == Role.POSITION_EMBEDDING for part in parts.values()):
        return None
    if naming.title == "GGUF's" and claims.architecture:
        return "interleaved" if claims.architecture in GGUF_INTERLEAVED else "half_split"
    return naming.rotary


def _tied(checkpoint: Checkpoint, parts: Mapping[str, Part]) -> tuple[bool, Finding]:
    """Whether the head is the embedding; a head of the same shape is read beside it until they differ."""
    names = {part.role: name for name, part in parts.items() if part.role in (Role.EMBEDDING, Role.HEAD)}
    alike = [name for name, part in parts.items() if part.role == Role.UNKNOWN]
    if Role.HEAD not in names and Role.EMBEDDING in names:
        shape = checkpoint.tensors[names[Role.EMBEDDING]].shape
        rival = next((name for name in alike if checkpoint.tensors[name].shape in (shape, shape[::-1])), None)
        if rival is not None:
            return False, Finding("unknown", "weak", f"{rival!r} has the shape of a head")
        return True, Finding("tied", "certain", "no head is stored beside the embedding")
    if Role.EMBEDDING not in names:
        return False, Finding("unknown", "weak", "the embedding could not be told")
    one, other = (checkpoint.tensors[names[role]] for role in (Role.EMBEDDING, Role.HEAD))
    if one.shape == other.shape:
        starts = range(0, one.shape[0], EQUALITY_ROWS)
        ends = (min(start + EQUALITY_ROWS, one.shape[0]) for start in starts)
        if all(np.array_equal(one.read_rows(*each), other.read_rows(*each)) for each in zip(starts, ends, strict=True)):
            return True, Finding("tied", "certain", "stored twice, with equal numbers")
    return False, Finding("untied", "certain", "the head and the embedding differ")


def _unknown(parts: Mapping[str, Part], claims: Claims, attention: Attention) -> tuple[str, ...]:
    """What these weights cannot tell, with what is claimed of it."""

    def claimed(value: float | int | str | None) -> str:
        if value is None:
            return "nothing claims one"
        return f"its config says {value if isinstance(value, str) or value < 1 else format(value, ',.0f')}"

    told = [f"the epsilon of norms: {claimed(claims.epsilon)}"]
    if attention.layout:
        told.append(f"the base of rotary positions: {claimed(claims.rotary_base)}")
    if not any(part.role == Role.POSITION_EMBEDDING for part in parts.values()):
        told.append(f"the context it was trained for: {claimed(claims.context_tokens)}")
    told.append(f"the function of its MLP: {claimed(claims.activation)}")
    if attention.head_width is None:
        told.append("the number of heads")
    return tuple(told)
