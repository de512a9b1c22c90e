"""Settings of the corpus: its sources, extraction, the cascade of filters, duplicates, the held-out share."""

from typing import Self

from pydantic import Field, model_validator

from fromscratch.core.settings import Settings, did_you_mean, refuse
from fromscratch.corpus.cascade import Cascade
from fromscratch.corpus.sources import Source

__all__ = ["CorpusSettings", "DuplicateSettings", "HeldoutSettings"]


class DuplicateSettings(Settings):
    """Exact and near duplicates: of each set, the document that comes first stays.

    Documents whose shingle sets have Jaccard similarity s become candidates with probability
    1 - (1 - s^rows)^bands (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4): at the defaults
    0.998 for s = 0.8. Every candidate pair is verified by its exact similarity.
    """

    threshold: float = Field(default=0.8, gt=0, le=1)
    """Jaccard similarity of the shingle sets from which a document repeats an earlier one."""

    shingle_units: int = Field(default=5, ge=1, le=32)
    """Words, or Han characters, in a shingle."""

    bands: int = Field(default=20, ge=1, le=256)
    """Bands of MinHash values; documents that agree in all rows of one band are compared."""

    rows: int = Field(default=6, ge=1, le=32)
    """MinHash values in a band."""


class HeldoutSettings(Settings):
    """What is kept from training, so that models can be measured on it: whole documents, a share of each group."""

    share: float = Field(default=0.01, ge=0, le=0.5)
    """Share of the documents of each group `<language>/<domain>`."""

    least_documents: int = Field(default=5, ge=0)
    """At least so many of each group, though never more than a tenth of it."""

    most_documents: int = Field(default=500, ge=0)
    """At most so many of each group."""


class CorpusSettings(Settings):
    """From raw pages to clean, deduplicated documents."""

    sources: dict[str, Source] = Field(min_length=1)
    """Where raw pages come from, by name; of two equal documents the one from the earlier source stays."""

    examples: dict[str, Source] = Field(default_factory=dict)
    """What filters read and nobody trains on, by name: benchmarks to keep out, chosen pages to learn from."""

    extraction_timeout_seconds: float = Field(default=20, gt=0)
    """A page whose text takes longer to extract is dropped."""

    filters: Cascade = Cascade()
    """The filters that a document meets, in their order."""

    duplicates: DuplicateSettings = DuplicateSettings()
    """Exact and near duplicates."""

    heldout: HeldoutSettings = HeldoutSettings()
    """What is kept from training."""

    @model_validator(mode="after")
    def _name_unknown_examples(self) -> Self:
        for name, each in self.filters.present():
            for setting, wanted in each.reads.items():
                for example in wanted:
                    if example not in self.examples:
                        refuse(
                            f"`@filters.{name}.{setting}` names {example!r}, which is none of `@examples`",
                            did_you_mean(example, list(self.examples))
                            if self.examples
                            else "there are none yet: add it",
                        )
        return self
