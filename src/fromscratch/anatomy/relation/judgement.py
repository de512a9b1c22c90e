"""What a comparison of weights ends with: a relation, the steps that lead from one to the other, and the evidence."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

__all__ = ["Distance", "LayerMatch", "Relation", "Share", "Step", "Test", "Transform", "WeightVerdict"]


class Relation(StrEnum):
    """How the weights of two checkpoints stand to each other; one of them heads the verdict, several may be steps."""

    IDENTICAL = "identical"
    TRANSFORMED = "identical up to a transform"
    QUANTISED = "quantised"
    LOW_RANK = "low-rank update"
    FINE_TUNED = "fine-tuned"
    FURTHER_PRETRAINED = "further pretrained"
    MERGED = "merged"
    LAYERS_REUSED = "layers reused"
    PRUNED = "pruned"
    SHARED_INITIALISATION = "shared initialisation only"
    INDEPENDENT = "independent"
    UNDECIDED = "undecided"

    @property
    def is_lineage(self) -> bool:
        """Whether one holds what the other learnt."""
        return self not in (Relation.SHARED_INITIALISATION, Relation.INDEPENDENT, Relation.UNDECIDED)


Transform = Literal[
    "renamed",
    "fused",
    "split",
    "transposed",
    "rotary layout",
    "heads permuted",
    "units permuted",
    "width permuted",
    "rows or columns permuted",
    "vocabulary padded",
    "vocabulary cut",
    "vocabulary permuted",
    "cast",
    "tied",
    "untied",
]
"""What changes how numbers are laid out or rounded, and nothing that was learnt. ``tied``, ``fused``, ``cast`` and
the like say what b did to a."""


@dataclass(frozen=True)
class Step:
    """One thing that lies between a and b."""

    what: Relation | Transform
    evidence: str
    """One sentence with the numbers."""
    tensors: tuple[str, ...] = ()
    """Names in b that it touches; empty where it touches them all."""


@dataclass(frozen=True)
class Test:
    """One calibrated test of the hypothesis that a and b have nothing to do with each other."""

    name: str
    log10_p: float
    """Upper bound of the p-value, in powers of ten; 0 is no evidence."""
    observed: str
    bound: str
    """The formula."""
    limits: str
    """When it does not hold."""

    @property
    def significant(self) -> bool:
        """At 1e-6, the level at which two models are called related."""
        return self.log10_p < -6


@dataclass(frozen=True)
class Distance:
    """How far one tensor of b is from the one of a that stands in its place, after the transforms are undone."""

    a: str
    b: str
    cosine: float
    relative: float
    """‖b - a‖ / ‖a‖ (Frobenius), over the numbers that both fingerprints hold."""


@dataclass(frozen=True)
class LayerMatch:
    """Where a layer of b comes from."""

    b: int
    a: int | None
    """None where no layer of a is its origin."""
    cosine: float
    log10_p: float


@dataclass(frozen=True)
class Share:
    """One parent of a merge."""

    place: str
    weight: float
    """Mean over tensors of the coefficient in child = Σ weight · parent."""
    spread: float
    """Standard deviation of it over tensors."""


@dataclass(frozen=True)
class WeightVerdict:
    """Whether b's weights come from a's, or a's from b's, and all that speaks for it."""

    relation: Relation
    """The weightiest of the steps, or why there are none."""
    summary: str
    """One sentence for a reader in a hurry."""
    steps: tuple[Step, ...] = ()
    tests: tuple[Test, ...] = ()
    distances: tuple[Distance, ...] = ()
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Tensor of b → the tensors of a whose numbers it holds, exactly, in order: the rename map."""
    tied: tuple[tuple[str, ...], ...] = ()
    """Tensors of a that hold equal numbers (norms that are all ones): which of them b's comes from cannot be told."""
    layers: tuple[LayerMatch, ...] = ()
    units: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Layer of b → for each MLP unit of b the unit of a's layer, -1 where none; only where it is not the identity."""
    width: tuple[int, ...] = ()
    """For each dimension of b's residual stream the one of a; empty where it is the identity."""
    parents: tuple[Share, ...] = ()
    direction: Literal["b from a", "a from b"] | None = None
    """Which came first, where the weights show it; None where they do not."""
    reasons: tuple[str, ...] = ()
    """Why something could not be decided, and what a reader must not conclude."""
