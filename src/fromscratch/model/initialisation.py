"""How weights begin, and how that and the learning rates follow the width, as settings; torch is not needed."""

from typing import Annotated, Literal

from pydantic import Field

from fromscratch.core.settings import Settings

__all__ = [
    "DepthScaled",
    "FanIn",
    "Initialisation",
    "MuP",
    "Normal",
    "Parametrisation",
    "SmallInit",
    "Standard",
    "Torchtitan",
]

Std = Annotated[float, Field(gt=0)]


class Drawn(Settings):
    """What can be said of every initialisation."""

    embedding_std: Std | None = None
    """Standard deviation of the embedding, where it is not the kind's own. With 1 the residual stream starts at the
    scale that norms give it."""

    position_embedding_std: Std | None = None
    """Of learned positions, where it is not the kind's own; 0.01 in GPT-2's code."""

    truncate_at: float | None = Field(default=None, gt=0)
    """Nothing is drawn further from 0 than so many standard deviations, which are those before: 3 in OLMo 2, 2 in the
    linear layers of Haiku, Gopher's library."""

    zero: tuple[Literal["head", "query", "outputs"], ...] = ()
    """Matrices that begin at 0: the head and the queries, as muP's paper advises (arXiv 2203.03466, appendix D.2), or
    those that write to the residual stream, so that each layer begins as none at all (Fixup, arXiv 1901.09321)."""


class Normal(Drawn):
    """The same standard deviation everywhere, as `transformers` does for Llama, and OLMo 2 (arXiv 2501.00656)."""

    kind: Literal["normal"] = "normal"

    std: Std = 0.02
    """Standard deviation of every matrix."""


class DepthScaled(Drawn):
    """Matrices that write to the residual stream begin smaller the more of them there are (GPT-2, section 2.3)."""

    kind: Literal["depth_scaled"] = "depth_scaled"

    std: Std = 0.02
    """Standard deviation of the others."""

    depth: Literal["model", "layer"] = "model"
    """Those that write have it over √(2 · layers), or over √(2 · n) in layer n, counted from 1 (Zhang et al. 2019,
    arXiv 1908.11365)."""


class SmallInit(Drawn):
    """√(2 / 5 width) (arXiv 1910.05895), and Wang's 2 / (layers · √width) for what writes to the residual stream: those
    of GPT-NeoX-20B (arXiv 2204.06745)."""

    kind: Literal["small_init"] = "small_init"


class FanIn(Drawn):
    """1 / √inputs of each matrix, and 1 for the embedding (PaLM, arXiv 2204.02311, section 5); a tied one begins as
    the head that it is, 1 / √width."""

    kind: Literal["fan_in"] = "fan_in"

    depth: Literal["none", "model", "layer"] = "none"
    """Whether those that write to the residual stream are scaled as in `depth_scaled`: by `layer`, truncated at 3 and
    with an embedding of 1 / √width, it is the one of OLMo 1 (arXiv 2402.00838)."""


class Torchtitan(Drawn):
    """That of torchtitan for Llama 3: 0.02 for queries, keys, values and gates, by depth for the rest of a layer;
    1 for the embedding; 1 / √width, truncated at 3, for the head."""

    kind: Literal["torchtitan"] = "torchtitan"

    depth: Literal["model", "layer"] = "layer"
    """Over √(2 · layers), or over √(2 · n) in layer n, counted from 1."""


Initialisation = Annotated[Normal | DepthScaled | SmallInit | FanIn | Torchtitan, Field(discriminator="kind")]


class Standard(Settings):
    """Initial weights and learning rates as they are said, whatever the width."""

    kind: Literal["standard"] = "standard"


class MuP(Settings):
    """Maximal update parametrisation (Yang et al. 2022, arXiv 2203.03466): the initialisation and the learning rates
    that are right for the base width are made right for this one.

    Every size but the head width is taken to grow as the width does. At the base width nothing changes. What the paper
    multiplies activations with is folded into weights and their learning rates, so that the model stays a plain one.
    """

    kind: Literal["mup"] = "mup"

    base_width: int = Field(gt=0)
    """The width for which initialisation and learning rates are said."""

    base_head_width: int | None = Field(default=None, gt=0)
    """Numbers per head at the base width, where heads grow wider and not more: scores are then divided by their width,
    not its root, and so √(base / width) as large. The same as here when absent."""


Parametrisation = Annotated[Standard | MuP, Field(discriminator="kind")]
