"""muP: what makes initial weights and learning rates of one width right for another, by parameter.

Yang et al. 2022, arXiv 2203.03466, tables 3 and 8; for Muon the spectral condition, Yang et al. 2023, arXiv 2310.17813.
With w the width over the base width, and everything else at its value there:

    parameters                                         initial   AdamW   Muon: spectral   adamw
    embedding, learned positions, norms, biases           1        1           –            –
    matrices of layers                                  1 / √w   1 / w         1         1 / √w
    head of its own                                      1 / w   1 / w         –            –

A tied head is an embedding, whose logits table 8 divides by w; the last norm, which only the head reads, carries that.
Scores over the head width, not its root, are carried by what makes queries. By the paper's lemma J.1 a multiplier of
activations is the same as one of the initial weights and of the learning rate, for AdamW and Muon alike. Weight decay
takes as large a share of a weight each step as at the base width, as in the code of the paper.
"""

from math import sqrt
from typing import Literal

from fromscratch.core.errors import FromScratchError
from fromscratch.model.initialisation import MuP
from fromscratch.model.settings import DecoderSettings

__all__ = ["initial_factor", "learning_rate_factor", "multiplier", "width_growth"]

OF_SCORES = (".attention.distance.content", ".attention.distance.position")


def width_growth(settings: DecoderSettings) -> float:
    """How many times as wide as the base; 1 without muP."""
    mup = settings.parametrisation
    return settings.width / mup.base_width if isinstance(mup, MuP) else 1.0


def multiplier(settings: DecoderSettings, name: str) -> float:
    """What a parameter carries of the multipliers of logits and of scores; 1 for most, and without muP."""
    mup = settings.parametrisation
    if not isinstance(mup, MuP):
        return 1.0
    last_norm = "final_norm." if settings.norm_placement != "post" else f"layers.{settings.layers - 1}.mlp_norm."
    if settings.head == "tied" and name.startswith(last_norm):
        return 1 / width_growth(settings)
    of_queries = ".attention.query." if settings.qk_norm == "none" else ".attention.query_norm."
    if mup.base_head_width is not None and (of_queries in name or name.endswith(OF_SCORES)):
        return sqrt(mup.base_head_width / settings.key_width)
    return 1.0


def initial_factor(settings: DecoderSettings, name: str) -> float:
    """What the standard deviation, or a norm's weight, at the base width is multiplied with."""
    growth = {"vector": 1.0, "hidden": 1 / sqrt(width_growth(settings)), "head": 1 / width_growth(settings)}
    return multiplier(settings, name) * growth[_role(name)]


def learning_rate_factor(
    settings: DecoderSettings, name: str, moves: Literal["entries", "singular_values", "root_mean_square"]
) -> float:
    """What the learning rate for the base width is multiplied with, by what it is of an update: the size of every entry
    (AdamW), of every singular value (Muon), or that of Muon's entries made as large as AdamW's.

    Raises FromScratchError for an update by singular values of what is no matrix of a layer, where muP says nothing.
    """
    growth, role = width_growth(settings), _role(name)
    if moves == "entries":
        return multiplier(settings, name) / (1.0 if role == "vector" else growth)
    if role != "hidden" and isinstance(settings.parametrisation, MuP):
        raise FromScratchError(
            f"muP is not defined for {name!r} under Muon: only matrices that grow on both sides have singular values "
            "that follow the width",
            f"leave it to AdamW by `matrices.except_names`, which has to match {name!r}",
        )
    return multiplier(settings, name) * (1 / sqrt(growth) if moves == "root_mean_square" else 1.0)


def _role(name: str) -> Literal["vector", "hidden", "head"]:
    """By what grows with the width: one side, both, or the inputs alone."""
    if name == "head.weight":
        return "head"
    of_layer = name.startswith("layers.") and name.endswith(".weight")
    return "hidden" if of_layer and not name.endswith("norm.weight") else "vector"
