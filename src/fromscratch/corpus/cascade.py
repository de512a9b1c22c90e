"""The cascade: which filters a document meets, and in which order."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import model_validator

from fromscratch.core.settings import Settings
from fromscratch.corpus.filters.contamination import Contamination
from fromscratch.corpus.filters.correction import Correction
from fromscratch.corpus.filters.filter import Filter
from fromscratch.corpus.filters.language import Language
from fromscratch.corpus.filters.likeness import Likeness
from fromscratch.corpus.filters.perplexity import Perplexity
from fromscratch.corpus.filters.privacy import Privacy
from fromscratch.corpus.filters.quality import Quality
from fromscratch.corpus.filters.safety import Safety
from fromscratch.corpus.filters.topics import Topics
from fromscratch.corpus.filters.words import Words

__all__ = ["SHARD_STEPS", "STEPS", "Cascade", "filter_columns"]


class Cascade(Settings):
    """The filters in their order; `NAME = false` leaves one out.

    Adding one is its file, its line here, and its golden verdicts (docs/guides/adding-a-filter.md).

    The order is that of Yi's report (arXiv 2403.04652, figure 1) where it names a step: cheap and certain ones first.
    """

    correction: Correction | None = Correction()
    """Lines that say nothing of their own are cut."""

    language: Language = Language()
    """Documents in other languages go."""

    quality: Quality = Quality()
    """Documents beyond bounds on what is measured go."""

    words: Words | None = Words()
    """Documents full of listed words go."""

    perplexity: Perplexity | None = None
    """Documents that a model of chosen text finds far stranger than such text usually is, go."""

    likeness: Likeness | None = None
    """Documents that look like bad examples rather than good ones go."""

    safety: Safety | None = Safety()
    """Documents that offer harm go."""

    topics: Topics | None = Topics()
    """Every document gets a topic, and of some topics only a share stays."""

    privacy: Privacy | None = Privacy()
    """Personal numbers and addresses are masked; lists of them go."""

    contamination: Contamination | None = Contamination()
    """Documents that share an n-gram with a benchmark go."""

    @model_validator(mode="before")
    @classmethod
    def _switch_off(cls, data: Any) -> Any:
        """`words = false` leaves a filter out, for TOML has no other way to say so."""
        if not isinstance(data, Mapping):
            return data
        return {name: None if value is False else value for name, value in data.items()}

    def present(self) -> Iterator[tuple[str, Filter]]:
        """Name and filter, in order, without those that are absent."""
        for name in type(self).model_fields:
            if (each := getattr(self, name)) is not None:
                yield name, each


def filter_columns() -> dict[str, str]:
    """The columns that filters add to documents, with their Arrow types, in the order of the cascade."""
    columns: dict[str, str] = {}
    for field in Cascade.model_fields.values():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Filter):
                columns |= kind.columns
    return columns


SHARD_STEPS = ("read", "refuse", "extract", *Cascade.model_fields)
"""What happens to a document by itself."""

STEPS = (*SHARD_STEPS, "exact duplicates", "paragraphs", "near duplicates")
"""All that can happen to it, in the order of the funnel."""
