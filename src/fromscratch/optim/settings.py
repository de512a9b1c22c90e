"""Which optimiser trains which parameters, and how the learning rate moves over the steps."""

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field

from fromscratch.core.settings import Settings

__all__ = [
    "AdamW",
    "Constant",
    "Cosine",
    "Linear",
    "Moves",
    "Muon",
    "Optimizer",
    "Schedule",
    "Selection",
    "WarmupStableDecay",
]

Moves = Literal["entries", "singular_values", "root_mean_square"]
"""What of an update the learning rate is the size of: every entry, every singular value, or the entries on average."""

Share = Annotated[float, Field(ge=0, lt=1)]


class Selection(Settings):
    """Parameters picked by name and rank. Patterns are shell-like: `*` stands for any text, dots included."""

    names: tuple[str, ...] = Field(default=("*",), min_length=1)
    """Patterns of which at least one must match the parameter's name."""

    except_names: tuple[str, ...] = ()
    """Patterns of which none may match."""

    dimensions: int | None = Field(default=None, ge=0)
    """The parameter's number of dimensions; any when absent."""

    def picks(self, name: str, dimensions: int) -> bool:
        return (
            self.dimensions in (None, dimensions)
            and any(fnmatchcase(name, pattern) for pattern in self.names)
            and not any(fnmatchcase(name, pattern) for pattern in self.except_names)
        )


class AdamW(Settings):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), in torch's fused form."""

    kind: Literal["adamw"] = "adamw"

    peak_learning_rate: float = Field(default=3e-3, gt=0)
    """Learning rate where the schedule stands at 1."""

    learning_rates: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})
    """Peak learning rates of their own by name pattern, such as `{"embedding.weight" = 0.01}`."""

    beta1: Share = 0.9
    """Decay of the running mean of gradients."""

    beta2: Share = 0.95
    """Decay of the running mean of squared gradients."""

    epsilon: float = Field(default=1e-8, gt=0)
    """Added to the root of the mean square."""

    weight_decay: float = Field(default=0.1, ge=0)
    """Share of a weight taken away each step, times the learning rate."""

    undecayed: tuple[Selection, ...] = (Selection(dimensions=1), Selection(names=("*embedding.weight",)))
    """Parameters without weight decay: by default norms, biases and embeddings."""

    @property
    def moves(self) -> Moves:
        """What the learning rate is the size of."""
        return "entries"


class Muon(Settings):
    """Momentum made orthogonal, for hidden matrices (Jordan et al. 2024, kellerjordan.github.io/posts/muon)."""

    kind: Literal["muon"] = "muon"

    peak_learning_rate: float = Field(default=2e-2, gt=0)
    """Learning rate of the matrices where the schedule stands at 1."""

    momentum: Share = 0.95
    """Decay of the running mean of gradients; the update looks one step ahead (Nesterov)."""

    weight_decay: float = Field(default=0.01, ge=0)
    """Share of a weight taken away each step, times the learning rate."""

    iteration: Literal["polar_express", "jordan"] = "polar_express"
    """Polynomials that drive the singular values of an update towards 1: the best one for each step (Amsel et al.
    2025, arXiv:2505.16932), or the same one throughout, as in the first Muon and in torch's."""

    iterations: int = Field(default=4, ge=1, le=7)
    """How many of them; each costs three matrix products."""

    update_scale: Literal["spectral", "adamw"] = "spectral"
    """`spectral` scales an update by √max(1, rows/columns); `adamw` by 0.2·√max(rows, columns), so that a learning
    rate tuned for AdamW fits (Liu et al. 2025, arXiv:2502.16982)."""

    matrices: Selection = Selection(dimensions=2, except_names=("*embedding.weight", "*head.weight"))
    """The parameters that Muon trains; they must have two dimensions."""

    rest: AdamW = AdamW()
    """How every other parameter is trained."""

    @property
    def moves(self) -> Moves:
        """What the learning rate is the size of."""
        return "singular_values" if self.update_scale == "spectral" else "root_mean_square"


Optimizer = Annotated[AdamW | Muon, Field(discriminator="kind")]


class Constant(Settings):
    """Warm-up, then the peak to the end."""

    kind: Literal["constant"] = "constant"

    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises in a straight line."""


class Linear(Settings):
    """Warm-up, then a straight line down to the last step."""

    kind: Literal["linear"] = "linear"

    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises in a straight line."""

    final_share: Share = 0.0
    """Share of the peak that the line leads to; it would be reached one step after the last."""


class Cosine(Settings):
    """Warm-up, then half a cosine down to the last step (Loshchilov and Hutter 2017, arXiv:1608.03983)."""

    kind: Literal["cosine"] = "cosine"

    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises in a straight line."""

    final_share: Share = 0.1
    """Share of the peak that the curve leads to."""


class WarmupStableDecay(Settings):
    """Warm-up, the peak for most of the run, then down over the last share of it (Hu et al. 2024, arXiv:2404.06395)."""

    kind: Literal["warmup_stable_decay"] = "warmup_stable_decay"

    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises in a straight line."""

    decay_share: float = Field(default=0.2, gt=0, le=1)
    """Share of all steps over which it falls."""

    decay_shape: Literal["linear", "one_minus_sqrt"] = "linear"
    """`linear`, or 1 − √progress, which falls faster at first (Hägele et al. 2024, arXiv:2405.18392)."""

    final_share: Share = 0.0
    """Share of the peak that the decay leads to."""


Schedule = Annotated[Constant | Linear | Cosine | WarmupStableDecay, Field(discriminator="kind")]
