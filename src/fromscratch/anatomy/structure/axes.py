"""The four axes on which open decoders differ, told in the same words of a checkpoint and of a known family."""

from collections.abc import Collection

from fromscratch.anatomy.structure.attention import Attention
from fromscratch.anatomy.structure.claims import Claims
from fromscratch.anatomy.structure.names import Naming
from fromscratch.anatomy.structure.roles import Finding, Role
from fromscratch.anatomy.structure.sizes import Sizes
from fromscratch.model.settings import DecoderSettings

__all__ = ["UNKNOWN", "axes_of_settings", "find_axes"]

UNKNOWN = "unknown"
POSITIONS = {"rotary": "rotary", "learned": "learned", "relative": "relative", "alibi": "ALiBi", "none": "none"}


def find_axes(
    roles: Collection[Role],
    attention: Attention,
    claims: Claims,
    naming: Naming | None,
    sizes: Sizes,
    strange: Collection[str],
    vectors_known: bool,
) -> dict[str, Finding]:
    """Attention, activation, normalisation and positions, without sizes, each with its evidence.

    ``strange`` are the names of tensors without a role; without ``vectors_known`` nothing is said of biases.
    """
    experts = sum("expert" in name for name in strange)
    return {
        "attention": _attention(roles, attention, sizes, vectors_known),
        "activation": _activation(roles, experts),
        "normalisation": _normalisation(roles, claims, naming),
        "positions": _positions(roles, attention, claims),
    }


def axes_of_settings(settings: DecoderSettings) -> dict[str, str]:
    """The same four, of a decoder that is known; what weights cannot show is left out."""
    groups = settings.heads // settings.kv_heads
    kind = "multi-head" if groups == 1 else "multi-query" if settings.kv_heads == 1 else "grouped-query"
    biases = {"none": "no biases", "query_key_value": "biases of queries, keys and values", "all": "biases"}
    attention = [kind, biases[settings.biases]] + (
        ["queries and keys normalised"] if settings.qk_norm == "head" else []
    )
    norm = ["RMSNorm" if settings.norm == "rms" else "LayerNorm", settings.norm_placement]
    return {
        "attention": ", ".join(attention),
        "activation": "gated" if settings.is_gated else "plain",
        "normalisation": ", ".join(norm + (["parallel blocks"] if settings.block == "parallel" else [])),
        "positions": POSITIONS.get(settings.positions.kind, settings.positions.kind),
    }


def _attention(roles: Collection[Role], attention: Attention, sizes: Sizes, vectors_known: bool) -> Finding:
    if not sizes.query_width:
        return Finding(UNKNOWN, "weak", "no attention was found")
    if sizes.query_width == sizes.kv_width:
        kind, confidence, why = "multi-head", "certain", f"queries and keys are both {sizes.query_width:,} wide"
    else:
        kind = "multi-query" if attention.kv_heads == 1 else "grouped-query"
        confidence = "certain" if attention.kv_heads else "weak"
        why = f"queries are {sizes.query_width:,} wide, keys {sizes.kv_width:,}"
    some = {Role.QUERY_BIAS, Role.QUERY_KEY_VALUE_BIAS, Role.VALUE_BIAS} & set(roles)
    biases = "biases" if Role.ATTENTION_OUTPUT_BIAS in roles else "no biases"
    if some and Role.ATTENTION_OUTPUT_BIAS not in roles:
        biases = "biases of queries, keys and values"
    if not vectors_known:
        biases = "biases unknown"
    normed = ["queries and keys normalised"] if Role.QUERY_NORM in roles else []
    return Finding(", ".join([kind, biases, *normed]), confidence, why)  # type: ignore[arg-type]


def _activation(roles: Collection[Role], experts: int) -> Finding:
    if experts:
        return Finding("experts", "claimed", f"{experts} tensors are called experts; what they do is not looked into")
    if {Role.GATE, Role.GATE_UP} & set(roles):
        return Finding("gated", "certain", "a gate stands beside the up projection")
    if Role.UP in roles:
        return Finding("plain", "certain", "two matrices and no gate")
    return Finding(UNKNOWN, "weak", "no MLP was found")


def _normalisation(roles: Collection[Role], claims: Claims, naming: Naming | None) -> Finding:
    biased = {Role.ATTENTION_NORM_BIAS, Role.MLP_NORM_BIAS, Role.FINAL_NORM_BIAS} & set(roles)
    before = {Role.ATTENTION_NORM, Role.MLP_NORM} & set(roles)
    after = {Role.POST_ATTENTION_NORM, Role.POST_MLP_NORM} & set(roles)
    if not before and not after:
        return Finding(UNKNOWN, "weak", "no norm within the layers was found")
    placement = "sandwich" if before and after else "output" if after else "pre"
    if (naming is not None and naming.post_norm) or Role.FINAL_NORM not in roles:
        placement = "post"
    parallel = claims.parallel or (Role.MLP_NORM not in roles and not after)
    told = ["LayerNorm" if biased else "RMSNorm", placement] + (["parallel blocks"] if parallel else [])
    if biased:
        return Finding(", ".join(told), "certain", "its norms add a bias")
    if claims.norm is not None:
        told[0] = "LayerNorm" if claims.norm == "layer" else "RMSNorm"
        return Finding(", ".join(told), "claimed", "its norms have no bias, and its config tells the kind")
    return Finding(", ".join(told), "weak", "its norms have no bias, which a LayerNorm seldom lacks")


def _positions(roles: Collection[Role], attention: Attention, claims: Claims) -> Finding:
    if Role.POSITION_EMBEDDING in roles:
        return Finding("learned", "certain", "a table of positions is stored")
    if Role.ROTARY_FREQUENCIES in roles:
        return Finding("rotary", "certain", "frequencies of rotary positions are stored")
    if attention.turning is not None:
        told = f"{attention.turning.value.replace('_', ' ')}; {attention.turning.evidence}"
        return Finding("rotary", attention.turning.confidence, told)
    if claims.rotary_base is not None:
        return Finding("rotary", "claimed", "its config gives a base")
    return Finding(UNKNOWN, "weak", "nothing is stored, and queries and keys show no pairs that turn")
