"""The card of a model that lies somewhere: what its tensors are, what follows from them, and what nobody can tell."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fromscratch.anatomy.structure.claims import Claims, read_claims
from fromscratch.anatomy.structure.families import Nearest, nearest_family
from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.structure.roles import Finding, Part, Role, Structure
from fromscratch.anatomy.tensors import Checkpoint
from fromscratch.model.card import in_bytes, in_power, rows

__all__ = ["model_card", "model_page"]

PARTS = {
    "embedding": {Role.EMBEDDING, Role.TOKEN_TYPE_EMBEDDING},
    "positions": {Role.POSITION_EMBEDDING},
    "attention": {Role.QUERY, Role.KEY, Role.VALUE, Role.KEY_VALUE, Role.QUERY_KEY_VALUE, Role.ATTENTION_OUTPUT},
    "mlp": {Role.GATE, Role.UP, Role.GATE_UP, Role.DOWN},
    "head": {Role.HEAD},
}
SHORT = {"attention heads": "heads", "order of layers": "order"}
SURE: Mapping[str, str] = {"certain": "", "strong": "", "weak": " (weakly)", "claimed": " (as claimed)"}


def model_card(checkpoint: Checkpoint, blind: bool = False) -> dict[str, Any]:
    """Everything that is found out about a checkpoint, as plain JSON."""
    structure = find_structure(checkpoint, blind)
    claims = read_claims({} if blind else checkpoint.config)
    counts = _parameters(structure)
    nearest = nearest_family(structure)
    return {
        "place": checkpoint.place,
        "format": checkpoint.format,
        "blind": blind,
        "axes": {name: asdict(each) for name, each in structure.axes.items()},
        "layers": structure.layers,
        "width": structure.width,
        "mlp_width": structure.mlp_width,
        "query_heads": structure.query_heads,
        "kv_heads": structure.kv_heads,
        "head_width": structure.head_width,
        "vocabulary": structure.vocabulary,
        "head": structure.findings["head"].value,
        "rotary_layout": structure.rotary_layout,
        "parameters": {**counts, "total": sum(counts.values())},
        "stored": _stored(checkpoint),
        "bytes": sum(tensor.nbytes for tensor in checkpoint.tensors.values()),
        "flops_per_token": _flops(structure, claims),
        "key_value_cache_bytes_per_token": _cache_bytes(structure),
        "claims": {name: value for name, value in asdict(claims).items() if value},
        "nearest": asdict(nearest) if nearest else None,
        "findings": {name: asdict(each) for name, each in structure.findings.items()},
        "unknown": structure.unknown,
        "tensors": {name: _part(part) for name, part in structure.parts.items()},
    }


def _part(part: Part) -> dict[str, Any]:
    return {"role": part.role.value, "layer": part.layer, "shape": part.shape, "transposed": part.transposed}


def _parameters(structure: Structure) -> dict[str, int]:
    """Numbers by part; a head that repeats the embedding is counted once, buffers not at all."""
    counts = dict.fromkeys((*PARTS, "norms", "unknown"), 0)
    for part in structure.parts.values():
        if part.role.is_weight and not (part.role == Role.HEAD and structure.tied):
            counts[_kind(part.role)] += math.prod(part.shape)
    return counts


def _kind(role: Role) -> str:
    plain = Role(role.value.removesuffix("_bias"))
    known = next((kind for kind, roles in PARTS.items() if plain in roles), None)
    return known or ("norms" if plain.value.endswith("norm") else "unknown")


def _stored(checkpoint: Checkpoint) -> dict[str, int]:
    """Numbers by the form that they are stored in, most first."""
    counts = Counter[str]()
    for tensor in checkpoint.tensors.values():
        counts[tensor.kind] += math.prod(tensor.shape)
    return dict(counts.most_common())


def _flops(structure: Structure, claims: Claims) -> dict[str, int] | None:
    """Floating-point operations to run one token (a third of what training takes, as ``model.arithmetic`` counts them):
    two for each weight that multiplies, and those of attention for each token that is looked back to."""
    if not structure.layers or structure.query_heads is None or structure.head_width is None:
        return None
    matrices = [part for part in structure.parts.values() if part.layer is not None and len(part.shape) == 2]
    multiplying = sum(math.prod(part.shape) for part in matrices) + structure.vocabulary * structure.width
    look_back = 4 * structure.layers * structure.query_heads * structure.head_width
    found = {"weights": 2 * multiplying, "per_token_looked_back_to": look_back}
    seen = claims.context_tokens and min(claims.context_tokens, claims.window_tokens or claims.context_tokens)
    return {**found, "in_full_context": 2 * multiplying + look_back * (seen + 1) // 2} if seen else found


def _cache_bytes(structure: Structure) -> int | None:
    """Of keys and values in bf16, for each token of the context."""
    if structure.kv_heads is None or structure.head_width is None:
        return None
    return 4 * structure.layers * structure.kv_heads * structure.head_width


def model_page(card: Mapping[str, Any]) -> str:
    """The card for a terminal, a fact a line."""
    axes = {name: _axis(name, Finding(**each), card) for name, each in card["axes"].items()}
    counts = {name: each for name, each in card["parameters"].items() if each and name != "total"}
    total, widest = card["parameters"]["total"], max((len(f"{each:,}") for each in counts.values()), default=0)
    lines = [
        str(card["place"]) + (", read blind: no names, no config" if card["blind"] else ""),
        *rows(axes),
        "",
        *rows(_shape(card)),
        *(f"  {'':<14}  {each:>{widest},}  {each / total:>4.0%}  {part}" for part, each in counts.items()),
        *rows(_running(card)),
        "",
        *rows(_names(card)),
        *_listed("not known", card["unknown"]),
    ]
    return "\n".join(lines)


def _axis(name: str, found: Finding, card: Mapping[str, Any]) -> str:
    claims, told = card["claims"], found.value
    heads, kv_heads = card["query_heads"], card["kv_heads"]
    if name == "attention" and heads:
        told += f", {heads} heads of {card['head_width']}" + (f" over {kv_heads}" if kv_heads != heads else "")
    if name == "activation" and claims.get("activation"):
        told += f", {claims['activation']} says its config"
    if name == "normalisation" and claims.get("epsilon"):
        told += f", epsilon {claims['epsilon']:g} says its config"
    if name == "positions" and card["rotary_layout"]:
        told += ", neighbours turn together" if card["rotary_layout"] == "interleaved" else ", halves turn together"
        told += f", base {claims['rotary_base']:,.0f} says its config" if claims.get("rotary_base") else ""
    return told + SURE[found.confidence]


def _shape(card: Mapping[str, Any]) -> dict[str, str]:
    bits = 8 * card["bytes"] / max(sum(card["stored"].values()), 1)
    forms = ", ".join(f"{kind} {count:,}" for kind, count in card["stored"].items())
    return {
        "shape": f"{card['layers']} layers × {card['width']:,}, MLP {card['mlp_width']:,}",
        "vocabulary": f"{card['vocabulary']:,}, head {card['head']}: {card['findings']['head']['evidence']}",
        "stored": f"{in_bytes(card['bytes'])} as {card['format']}, {bits:.1f} bits a number: {forms}",
        "parameters": f"{card['parameters']['total']:,}",
    }


def _running(card: Mapping[str, Any]) -> dict[str, str]:
    told, flops, cache = {}, card["flops_per_token"], card["key_value_cache_bytes_per_token"]
    if flops:
        weights, look = in_power(flops["weights"]), in_power(flops["per_token_looked_back_to"])
        told["running"] = f"{weights}FLOP per token, and {look}FLOP for each token looked back to"
    if cache:
        told["cache"] = f"{cache / 1024:,.1f} KiB per token of keys and values in bf16"
    return told


def _names(card: Mapping[str, Any]) -> dict[str, str]:
    told = {"family": _family(card["nearest"])} if card["nearest"] else {}
    for name, each in card["findings"].items():
        if name not in ("head", "layers"):
            told[SHORT.get(name, name)] = f"{each['value']}{SURE[each['confidence']]}: {each['evidence']}"
        elif name == "layers" and each["evidence"] != "all of one shape":
            told[name] = each["evidence"]
    return told


def _family(nearest: Mapping[str, Any]) -> str:
    found = Nearest(**nearest)
    if found.same_shape:
        also = f", and with {', '.join(found.also)}, which differ in what weights do not show" if found.also else ""
        return f"one with {found.name}{also}"
    told = [f"{axis}: {there} there, {here} here" for axis, there, here in (*found.axes, *found.sizes)]
    return f"nearest is {found.name}; " + "; ".join(told)


def _listed(title: str, sentences: tuple[str, ...]) -> list[str]:
    return [f"  {title if index == 0 else '':<14}  {each}" for index, each in enumerate(sentences)]
