"""Documents that offer harm go: pornography, gambling, fraud, drugs and weapons, hate, by their phrases or a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fromscratch.corpus.filters.filter import Batch, Filter, Objects, ReadExamples, Verdict, no_reasons
from fromscratch.corpus.filters.learned import FastText, Trained, score_two_classes, train_classes
from fromscratch.corpus.kernels.metrics import Metric

__all__ = ["Safety"]

UNITS = 200  # words and Han characters, by which phrases are counted in long texts
NAMED = 4  # phrases in the evidence


class Safety(Filter):
    """A score of harm between 0 and 1 for each document, and the score from which it goes. The definition is ours.

    By phrases it is 1 - e^-x, where x is the lesser of the weights of its different phrases, and of the weights of all
    their occurrences in 200 words or Han characters: one phrase is no proof, however often it comes, nor is a long
    text that mentions several. Where a language has a model, the greater of the two scores counts.
    """

    columns: ClassVar[Mapping[str, str]] = {"safety": "float32"}

    most: float = Field(default=0.75, ge=0, le=1)
    """Documents with a higher score go: two of the heavier phrases, close to each other."""

    languages: Mapping[str, Annotated[Trained | FastText, Field(discriminator="kind")]] = Field(default_factory=dict)
    """Models by language, of harmless (`good`) and harmful (`bad`) examples; a label of fastText's is that of harm."""

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        """The harmless and the harmful examples of each language."""
        return {
            f"languages.{language}.{name}": getattr(each, name)
            for language, each in self.languages.items()
            if isinstance(each, Trained)
            for name in ("good", "bad")
        }

    def prepare(self, folder: Path, read: ReadExamples) -> None:
        """Train the models, if there are any."""
        for language, each in self.languages.items():
            if isinstance(each, Trained):
                setting = f"corpus.filters.safety.languages.{language}"
                train_classes(folder / f"safety-{language}", {"good": each.good, "bad": each.bad}, each, read, setting)

    def judge(self, batch: Batch) -> Verdict:
        """`unsafe`, with the score and the phrases, or the model's score; the score of every document."""
        scores, evidence = _by_phrases(batch, self.most)
        for language, each in self.languages.items():
            here = np.flatnonzero(batch.languages == language)
            if len(here):
                import pyarrow as pa

                texts = batch.texts.take(pa.array(here))
                found = score_two_classes(each, batch.models / f"safety-{language}", texts)
                higher = found > scores[here]
                scores[here] = np.maximum(scores[here], found)
                for place in here[higher & (found > self.most)]:
                    evidence[place] = f"score {scores[place]:.2f}, most {self.most:.2f}, by the model"
        reasons = no_reasons(batch)
        reasons[scores > self.most] = "unsafe"
        return Verdict(reasons, evidence, {"safety": scores.astype(np.float32)})


def _by_phrases(batch: Batch, most: float) -> tuple[NDArray[np.float64], Objects]:
    """Scores of the documents by the package's phrases, and the evidence of those over the bound."""
    from fromscratch.corpus.learning.lexicons import load_lexicon, look_up

    lexicon, lengths = load_lexicon("unsafe"), batch.metrics[:, Metric.WORDS] / UNITS
    found = look_up(batch.texts, lexicon)
    weights = lexicon.weights.max(axis=1)[found.phrases]
    different = np.bincount(found.texts, weights, len(batch))
    dense = np.bincount(found.texts, weights * found.counts, len(batch)) / np.maximum(lengths, 1)
    scores = 1 - np.exp(-np.minimum(different, dense))
    evidence = no_reasons(batch)
    for place in np.flatnonzero(scores > most):
        here = found.phrases[np.searchsorted(found.texts, place) : np.searchsorted(found.texts, place, "right")]
        named = ", ".join(lexicon.phrases.phrases[phrase] for phrase in here[:NAMED])
        evidence[place] = f"score {scores[place]:.2f}, most {most:.2f}: {named}"
    return scores, evidence
