"""Documents that an n-gram model of chosen text finds far stranger than such text usually is, go."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from fromscratch.core.settings import Settings
from fromscratch.corpus.filters.filter import Batch, Filter, ReadExamples, Verdict, no_reasons

__all__ = ["NgramSettings", "Perplexity", "Quantile", "Times"]


class Times(Settings):
    """A multiple of the perplexity that is usual: the median of pieces of the examples that were held back."""

    kind: Literal["times"] = "times"

    median: float = Field(default=20, gt=1)
    """Ours. Yi drops what is "largely above average" (arXiv 2403.04652, section 2); CCNet's worst third of a crawl
    (1911.00359, section 3.4) is far stricter. An encyclopedia's model finds manuals 6 times, Shakespeare and pages
    of menus 13 times, and random letters 600 times as perplexing as other articles."""


class Quantile(Settings):
    """A perplexity that few pieces of the examples that were held back exceed, times a factor."""

    kind: Literal["quantile"] = "quantile"

    share: float = Field(default=0.99, gt=0, lt=1)
    """Share of these pieces that lies below."""

    factor: float = Field(default=3, gt=0)
    """What the perplexity there is multiplied by."""


class NgramSettings(Settings):
    """The model of one language, and the perplexity from which its documents go."""

    examples: tuple[str, ...] = Field(min_length=1)
    """Names of `corpus.examples`: text as it should be, such as an encyclopedia."""

    order: int = Field(default=3, ge=1, le=5)
    """Words, or Han characters, that are looked at together. CCNet and Yi take 5 of smaller pieces; of a few MB of
    examples 3 tell as much: on other encyclopedia articles 404, where 4 give a perplexity of 380 and 2 of 532."""

    most_megabytes: float = Field(default=20, gt=0)
    """What is learned from at most (10^6 bytes)."""

    bound: Annotated[Times | Quantile, Field(discriminator="kind")] = Times()
    """The perplexity beyond which documents go."""

    least_units: int = Field(default=50, ge=1)
    """Documents of fewer words and Han characters stay: a few names decide what they score. Ours."""


class Perplexity(Filter):
    """Perplexity under n-gram models of chosen text (Chen and Goodman 1999; CCNet: Wenzek et al. 2019, 1911.00359)."""

    columns: ClassVar[Mapping[str, str]] = {"perplexity": "float32"}

    languages: Mapping[str, NgramSettings] = Field(min_length=1)
    """By language; documents in others are not judged."""

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        """The examples of each language."""
        return {f"languages.{language}.examples": each.examples for language, each in self.languages.items()}

    def prepare(self, folder: Path, read: ReadExamples) -> None:
        """Train a model of each language on nine tenths of its examples; the last tenth tells what is usual."""
        from fromscratch.corpus.learning.ngram_model import perplexities, save_ngrams, train_ngrams
        from fromscratch.corpus.learning.samples import sample_pieces

        for language, each in self.languages.items():
            path = folder / f"perplexity-{language}"
            if path.with_suffix(".json").exists():
                continue
            setting = f"corpus.filters.perplexity.languages.{language}.examples"
            pieces, parts = sample_pieces(read, each.examples, each.most_megabytes, setting)
            model = train_ngrams(pieces.filter(parts < 9), each.order)
            usual, units = perplexities(model, pieces.filter(parts == 9))
            usual = usual[units >= min(each.least_units, np.median(units))]
            quantiles = {
                str(share): round(float(np.quantile(usual, share)), 2) for share in (0.01, 0.1, 0.5, 0.9, 0.99)
            }
            match each.bound:
                case Times(median=factor):
                    bound = factor * float(np.median(usual))
                case Quantile(share=share, factor=factor):
                    bound = factor * float(np.quantile(usual, share))
            report = {"bound": round(bound, 2), "held_back_pieces": len(usual), "held_back_perplexity": quantiles}
            save_ngrams(model._replace(report={**model.report, **report}), path)

    def judge(self, batch: Batch) -> Verdict:
        """`too_perplexing`, with the perplexity and the bound; the perplexity of every document in these languages."""
        import pyarrow as pa

        from fromscratch.corpus.learning.ngram_model import load_ngrams, perplexities

        reasons, evidence = no_reasons(batch), no_reasons(batch)
        scores = np.full(len(batch), np.nan, np.float32)
        for language, each in self.languages.items():
            here = np.flatnonzero(batch.languages == language)
            if not len(here):
                continue
            model = load_ngrams(batch.models / f"perplexity-{language}")
            found, units = perplexities(model, batch.texts.take(pa.array(here)))
            scores[here] = found
            bound, usual = model.report["bound"], model.report["held_back_perplexity"]["0.5"]
            for place in here[(found > bound) & (units >= each.least_units)]:
                reasons[place] = "too_perplexing"
                evidence[place] = f"perplexity {scores[place]:,.0f}, most {bound:,.0f}; {usual:,.0f} is usual"
        return Verdict(reasons, evidence, {"perplexity": scores})
