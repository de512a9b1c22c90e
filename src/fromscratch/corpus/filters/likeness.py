"""Documents that look like bad examples rather than good ones go: a learned judgement of quality."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from fromscratch.core.settings import Settings
from fromscratch.corpus.filters.filter import Batch, Filter, ReadExamples, Verdict, no_reasons
from fromscratch.corpus.filters.learned import FastText, Trained, score_two_classes, train_classes
from fromscratch.corpus.learning.chance import chance_of_ids

__all__ = ["LeastProbability", "Likeness", "Pareto"]


class LeastProbability(Settings):
    """Documents below a probability go."""

    kind: Literal["at_least"] = "at_least"

    probability: float = Field(default=0.1, ge=0, le=1)
    """That a document is like the good examples, if good and bad ones were equally frequent. Ours: of what
    was held back, 1 of 4,711 articles and 99 % of crawled pages lie below 0.1, and 3 % of the articles below 0.5."""


class Pareto(Settings):
    """Documents go by chance, the likelier the less they are like good ones, so that what is odd and good has a chance.

    A document stays if a Pareto variable exceeds 1 minus its probability (GPT-3: Brown et al. 2020, arXiv 2005.14165,
    appendix A). The variable comes from the document's id, and so is always the same.
    """

    kind: Literal["pareto"] = "pareto"

    alpha: float = Field(default=9, gt=0)
    """The larger, the stricter. GPT-3: 9."""


class Likeness(Filter):
    """How like good examples a document is, by a classifier for each language."""

    columns: ClassVar[Mapping[str, str]] = {"likeness": "float32"}

    languages: Mapping[str, Annotated[Trained | FastText, Field(discriminator="kind")]] = Field(min_length=1)
    """By language; documents in others are not judged."""

    keep: Annotated[LeastProbability | Pareto, Field(discriminator="kind")] = LeastProbability()
    """Which documents stay."""

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        """The good and the bad examples of each language."""
        return {
            f"languages.{language}.{name}": getattr(each, name)
            for language, each in self.languages.items()
            if isinstance(each, Trained)
            for name in ("good", "bad")
        }

    def prepare(self, folder: Path, read: ReadExamples) -> None:
        """Train the models; what they get right of examples they have not seen stands in their .json."""
        for language, each in self.languages.items():
            if isinstance(each, Trained):
                setting = f"corpus.filters.likeness.languages.{language}"
                classes = {"bad": each.bad, "good": each.good}
                train_classes(folder / f"likeness-{language}", classes, each, read, setting)

    def judge(self, batch: Batch) -> Verdict:
        """`unlike_good_text`, with the probability and what it had to be; the probability of every document."""
        import pyarrow as pa

        reasons, evidence = no_reasons(batch), no_reasons(batch)
        scores = np.full(len(batch), np.nan, np.float32)
        for language, each in self.languages.items():
            here = np.flatnonzero(batch.languages == language)
            if len(here):
                texts = batch.texts.take(pa.array(here))
                scores[here] = score_two_classes(each, batch.models / f"likeness-{language}", texts)
        if isinstance(self.keep, LeastProbability):
            least = np.full(len(batch), self.keep.probability, np.float32)
        else:
            drawn = (1 - chance_of_ids(batch.ids, "likeness")) ** (-1 / self.keep.alpha) - 1
            least = np.nextafter(
                np.float32(1) - drawn.astype(np.float32), np.float32(np.inf)
            )  # more than, not at least
        for place in np.flatnonzero(scores < least):
            reasons[place] = "unlike_good_text"
            evidence[place] = f"probability {scores[place]:.3f}, least {least[place]:.3f}"
        return Verdict(reasons, evidence, {"likeness": scores})
