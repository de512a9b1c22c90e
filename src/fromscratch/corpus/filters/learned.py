"""What filters share that judge by a linear model over hashed n-grams: how it is trained, or fastText's instead."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fromscratch.core.settings import Settings
from fromscratch.corpus.filters.filter import ReadExamples

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FastText", "LinearSettings", "Trained", "score_two_classes", "train_classes"]


class LinearSettings(Settings):
    """How a linear model over hashed n-grams is trained."""

    bits: int = Field(default=18, ge=10, le=24)
    """The hash table of n-grams has 2^bits weights for each class; 2^18 fit the fast caches of a core."""

    passes: int = Field(default=2, ge=1, le=50)
    """How often training goes over the examples."""

    most_megabytes: float = Field(default=20, gt=0)
    """What is learned from at most, of each class (10^6 bytes)."""


class Trained(LinearSettings):
    """A model that tells two kinds of examples apart."""

    kind: Literal["trained"] = "trained"

    good: tuple[str, ...] = Field(min_length=1)
    """Names of `corpus.examples`: text as it should be, of every kind that is to stay. Where an encyclopedia was all
    that was good and a crawl all that was bad, the model took Shakespeare for a crawl."""

    bad: tuple[str, ...] = Field(min_length=1)
    """Names of `corpus.examples`: text as it should not be."""


class FastText(Settings):
    """A fastText classifier (.bin or .ftz) that somebody else has trained."""

    kind: Literal["fasttext"] = "fasttext"

    path: str = Field(min_length=1)
    """The file, relative to the folder in which the command is run."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Digest of the file, so that another model under its name is refused."""

    label: str = Field(min_length=1)
    """The label whose probability is the score, with or without `__label__`."""


def train_classes(
    path: Path, classes: Mapping[str, tuple[str, ...]], settings: LinearSettings, read: ReadExamples, setting: str
) -> None:
    """Train on examples by class and save at ``path``, unless an attempt that was stopped has done so already."""
    from fromscratch.corpus.learning.linear_model import save_linear, train_linear
    from fromscratch.corpus.learning.samples import sample_pieces

    if not path.with_suffix(".json").exists():
        pieces = {
            name: sample_pieces(read, examples, settings.most_megabytes, f"{setting}.{name}")
            for name, examples in classes.items()
        }
        save_linear(train_linear(pieces, settings.bits, settings.passes), path)


def score_two_classes(model: Trained | FastText, path: Path, texts: "pa.LargeStringArray") -> NDArray[np.float64]:
    """The probability of each text that it is like the second of the two classes, or of fastText's label."""
    if isinstance(model, FastText):
        from fromscratch.corpus.learning.fasttext_model import label_probabilities

        return label_probabilities(Path(model.path), model.sha256, model.label, texts)
    from fromscratch.corpus.learning.linear_model import class_probabilities, load_linear

    scores: NDArray[np.float64] = class_probabilities(load_linear(path), texts)[:, 1]
    return scores
