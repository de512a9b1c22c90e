"""Settings of the corpus: its sources, extraction, the cascade of filters, duplicates, the held-out share."""

from typing import Self

from pydantic import Field, model_validator

from fromscratch.core.settings import Settings, did_you_mean, refuse
from fromscratch.corpus.cascade import Cascade
from fromscratch.corpus.comparison.settings import DuplicateSettings, HeldoutSettings, ParagraphSettings
from fromscratch.corpus.extraction.settings import ExtractionSettings
from fromscratch.corpus.filters.refusals import Refusals
from fromscratch.corpus.sources import Source

__all__ = ["CorpusSettings"]


class CorpusSettings(Settings):
    """From raw pages to clean, deduplicated documents."""

    sources: dict[str, Source] = Field(min_length=1)
    """Where raw pages come from, by name; of two equal documents the one from the earlier source stays."""

    examples: dict[str, Source] = Field(default_factory=dict)
    """What filters read and nobody trains on, by name: benchmarks to keep out, chosen pages to learn from."""

    refusals: Refusals = Refusals()
    """What is refused before it is parsed."""

    extraction: ExtractionSettings = ExtractionSettings()
    """How the text of web pages is found."""

    filters: Cascade = Cascade()
    """The filters that a document meets, in their order."""

    against: tuple[str, ...] = ()
    """Folders of earlier corpora, such as `runs/first/corpus`. What repeats their documents is dropped as if they had
    come first in this corpus, without reading them again."""

    paragraphs: ParagraphSettings = ParagraphSettings()
    """Paragraphs that many documents share."""

    duplicates: DuplicateSettings = DuplicateSettings()
    """Exact and near duplicates."""

    heldout: HeldoutSettings = HeldoutSettings()
    """What is kept from training."""

    @model_validator(mode="after")
    def _name_unknown_examples(self) -> Self:
        filters = [(f"filters.{name}", each.reads) for name, each in self.filters.present()]
        for place, reads in (("refusals", self.refusals.reads), *filters):
            for setting, wanted in reads.items():
                for example in wanted:
                    if example not in self.examples:
                        refuse(
                            f"`@{place}.{setting}` names {example!r}, which is none of `@examples`",
                            did_you_mean(example, list(self.examples))
                            if self.examples
                            else "there are none yet: add it",
                        )
        return self
