"""How far the initial values of each parameter spread: the formulas of the published initialisations."""

from math import sqrt
from typing import Literal

from fromscratch.model.initialisation import DepthScaled, FanIn, Normal, SmallInit, Torchtitan
from fromscratch.model.settings import DecoderSettings
from fromscratch.model.transfer import initial_factor, width_growth

__all__ = ["begins_at_zero", "initial_std", "truncation"]

EMBEDDINGS = ("embedding.weight", "position_embedding.weight")
WRITING = (".attention.output.weight", ".mlp.down.weight")
ZERO = {"head": ("head.weight",), "query": (".attention.query.weight",), "outputs": WRITING}


def initial_std(settings: DecoderSettings, name: str) -> float:
    """Standard deviation of a matrix, before it is truncated or begins at 0: the initialisation's at the base width,
    and what muP makes of it at this one."""
    return _std_at_base(settings, name) * initial_factor(settings, name)


def begins_at_zero(settings: DecoderSettings, name: str) -> bool:
    """Whether a parameter is one of those that `init.zero` names, a bias, or a vector of Transformer-XL."""
    zero = [ending for part in settings.init.zero for ending in ZERO[part]]
    return name.endswith((".bias", ".distance.content", ".distance.position", *zero))


def truncation(settings: DecoderSettings, name: str) -> float | None:
    """How many standard deviations from 0 the drawn values end; None where they do not."""
    if isinstance(settings.init, Torchtitan) and name == "head.weight":
        return settings.init.truncate_at or 3.0
    return settings.init.truncate_at


def _std_at_base(settings: DecoderSettings, name: str) -> float:
    init, growth = settings.init, width_growth(settings)
    own = {"embedding.weight": init.embedding_std, "position_embedding.weight": init.position_embedding_std}.get(name)
    if own is not None:
        return own
    width, inputs = settings.width / growth, _inputs(settings, name) / growth
    of_tables = 1.0 if settings.head == "untied" else width**-0.5
    writes = name.endswith(WRITING)
    match init:
        case Normal():
            return init.std
        case DepthScaled():
            return init.std / (_by_depth(settings, name, init.depth) if writes else 1.0)
        case SmallInit():
            return 2 / (settings.layers * sqrt(width)) if writes else sqrt(2 / (5 * width))
        case FanIn():
            scale = _by_depth(settings, name, init.depth) if writes else 1.0
            return of_tables if name in EMBEDDINGS else inputs**-0.5 / scale
        case Torchtitan():
            if name in EMBEDDINGS:
                return of_tables
            scaled = writes or (settings.is_gated and name.endswith(".mlp.up.weight"))
            scale = _by_depth(settings, name, init.depth) if scaled else 1.0
            return width**-0.5 if name == "head.weight" else 0.02 / scale


def _by_depth(settings: DecoderSettings, name: str, depth: Literal["none", "model", "layer"]) -> float:
    """√(2 · layers), counted to the end of the model or to this layer; each of them writes twice."""
    layers = {"none": 0.5, "model": settings.layers, "layer": int(name.split(".")[1]) + 1}[depth]
    return sqrt(2 * layers)


def _inputs(settings: DecoderSettings, name: str) -> int:
    if name.endswith(".attention.output.weight"):
        return settings.query_width
    return settings.ffn_width if name.endswith(".mlp.down.weight") else settings.width
