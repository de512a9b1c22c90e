"""Documents in other languages than those that are asked for go."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from fromscratch.corpus.filters.filter import Batch, Filter, Verdict, no_reasons

__all__ = ["Language"]


class Language(Filter):
    """How a document's language is decided, and which languages stay."""

    columns: ClassVar[Mapping[str, str]] = {"language": "string", "language_score": "float32"}

    keep: tuple[str, ...] = Field(default=("en", "zh", "code"), min_length=1)
    """Languages that stay: ISO 639 codes, and `code`."""

    least_score: float = Field(default=0.5, ge=0, le=1)
    """Probability that the language model must give its first guess; below it the language is `und` (CCNet: 0.5)."""

    least_han_share: float = Field(default=0.2, ge=0, le=1)
    """Share of Han characters in the letters from which a text without kana is Chinese, whatever the model says:
    it took 27 % of 6,000 idioms with their meanings for Japanese or another language. Ours."""

    most_kana_share: float = Field(default=0.05, ge=0, le=1)
    """Share of kana in the letters up to which a text may be Chinese; above it, it is Japanese. Ours."""

    least_code_symbol_share: float = Field(default=0.02, ge=0, le=1)
    """Share of characters such as `{ ( = ;` in a code file; one with fewer, most of whose lines end a sentence, is read
    as prose. Ours."""

    def judge(self, batch: Batch) -> Verdict:
        """`wrong_language`, with the language that was found."""
        from fromscratch.corpus.language import identify_languages

        languages, scores = identify_languages(batch.texts, batch.kinds, batch.hints, batch.metrics, self)
        reasons, evidence = no_reasons(batch), no_reasons(batch)
        for place in [place for place, language in enumerate(languages) if language not in self.keep]:
            reasons[place], evidence[place] = "wrong_language", f"{languages[place]}, probability {scores[place]:.2f}"
        return Verdict(reasons, evidence, {"language": languages, "language_score": scores})
