"""Settings of the corpus: sources, languages, quality bounds, duplicates, the held-out share.

Where a bound has a paper, its docstring names it: Gopher (Rae et al. 2021, arXiv 2112.11446, appendix A.1),
C4 (Raffel et al. 2019, 1910.10683), FineWeb (Penedo et al. 2024, 2406.17557), StarCoder (Li et al. 2023, 2305.06161),
StarCoder 2 (Lozhkov et al. 2024, 2402.19173). "Ours" are bounds that were set by reading what they keep and drop.
"""

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from fromscratch.core.settings import Settings, did_you_mean, refuse
from fromscratch.corpus.sources import Source

__all__ = [
    "ChineseQuality",
    "CodeQuality",
    "CorpusSettings",
    "DuplicateSettings",
    "EnglishQuality",
    "HeldoutSettings",
    "LanguageSettings",
    "QualitySettings",
    "TextQuality",
]


class LanguageSettings(Settings):
    """How a document's language is decided, and which languages stay."""

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


class QualityBounds(Settings):
    """What all classes of text share: bounds of their own for some domains."""

    domains: Mapping[str, Mapping[str, float]] = Field(default_factory=dict)
    """Other bounds for one domain, for example `domains.dictionary = { least_characters = 20 }`."""

    def within(self, domain: str) -> Self:
        """The bounds that hold in a domain."""
        return self.model_copy(update=self.domains.get(domain, {}))

    @model_validator(mode="after")
    def _name_unknown_bounds(self) -> Self:
        bounds = [name for name in type(self).model_fields if name != "domains"]
        for domain, name in ((domain, name) for domain, names in self.domains.items() for name in names):
            if name not in bounds:
                refuse(f"`@domains.{domain}.{name}` is not a bound", did_you_mean(name, bounds))
        return self


class TextQuality(QualityBounds):
    """Bounds on prose; shares are between 0 and 1."""

    short_words: float = Field(default=100, ge=0)
    """Documents with fewer words are short, such as entries of a reference, and some rules are looser for them: in 60
    words one phrase that comes twice exceeds Gopher's bounds, which drops documents of fewer than 50. Ours."""

    least_characters: float = Field(default=100, ge=0)
    """Documents with fewer characters are dropped. Ours; Gopher's 50 words would drop reference entries."""

    most_words: float = Field(default=100_000, gt=0)
    """Gopher: 100,000."""

    most_garbled_share: float = Field(default=0.01, ge=0, le=1)
    """Characters that a wrong encoding left behind. Ours."""

    least_letter_share: float = Field(default=0.5, ge=0, le=1)
    """Letters in what is not white space. Ours; it drops tables of numbers and lists of symbols."""

    most_symbol_word_ratio: float = Field(default=0.1, ge=0)
    """Number signs or ellipses for each word. Gopher: 0.1."""

    most_bullet_line_share: float = Field(default=0.9, ge=0, le=1)
    """Gopher: 0.9."""

    most_ellipsis_line_share: float = Field(default=0.3, ge=0, le=1)
    """Gopher: 0.3."""

    most_url_share: float = Field(default=0.3, ge=0, le=1)
    """Characters inside web addresses. Ours."""

    most_curly_braces: float | None = Field(default=None, ge=0)
    """C4: 0, which drops every page about programming; off by default."""

    most_lorem_ipsum: float = Field(default=0, ge=0)
    """Occurrences of the filler text. C4: 0."""

    most_short_line_share: float | None = Field(default=None, ge=0, le=1)
    """Lines of at most 30 characters. FineWeb: 0.67; off by default, because verse and dialogue are short lines."""

    least_punctuated_line_share: float = Field(default=0, ge=0, le=1)
    """Lines that end like a sentence. FineWeb: 0.12."""

    most_duplicate_line_share: float = Field(default=0.3, ge=0, le=1)
    """Gopher: 0.3."""

    most_duplicate_line_character_share: float = Field(default=0.2, ge=0, le=1)
    """Gopher: 0.2; FineWeb: 0.1."""

    most_duplicate_paragraph_share: float = Field(default=0.3, ge=0, le=1)
    """Gopher: 0.3."""

    most_duplicate_paragraph_character_share: float = Field(default=0.2, ge=0, le=1)
    """Gopher: 0.2."""

    most_top_2_gram_share: float = Field(default=0.20, ge=0, le=1)
    """Gopher: 0.20."""

    most_top_3_gram_share: float = Field(default=0.18, ge=0, le=1)
    """Gopher: 0.18."""

    most_top_4_gram_share: float = Field(default=0.16, ge=0, le=1)
    """Gopher: 0.16."""

    most_duplicate_5_gram_share: float | None = Field(default=0.15, ge=0, le=1)
    """Gopher: 0.15."""

    most_duplicate_6_gram_share: float | None = Field(default=0.14, ge=0, le=1)
    """Gopher: 0.14."""

    most_duplicate_7_gram_share: float | None = Field(default=0.13, ge=0, le=1)
    """Gopher: 0.13."""

    most_duplicate_8_gram_share: float = Field(default=0.12, ge=0, le=1)
    """Gopher: 0.12."""

    most_duplicate_9_gram_share: float = Field(default=0.11, ge=0, le=1)
    """Gopher: 0.11."""

    most_duplicate_10_gram_share: float = Field(default=0.10, ge=0, le=1)
    """Gopher: 0.10."""


class EnglishQuality(TextQuality):
    """Bounds on English, and on any language kept beside Chinese and code."""

    least_mean_word_characters: float = Field(default=3, ge=0)
    """Gopher: 3."""

    most_mean_word_characters: float = Field(default=10, gt=0)
    """Gopher: 10."""

    least_alphabetic_word_share: float = Field(default=0.8, ge=0, le=1)
    """Words with a letter. Gopher: 0.8."""

    least_stop_words: float = Field(default=2, ge=0, le=8)
    """How many of the, be, to, of, and, that, have, with must occur. Gopher: 2. Set 0 for languages but English."""

    least_punctuated_line_share: float = Field(default=0.12, ge=0, le=1)
    """Lines that end like a sentence. FineWeb: 0.12."""


class ChineseQuality(TextQuality):
    """Bounds on Chinese, where each Han character counts as a word.

    English bounds on word length, stop words and letters by word say nothing here and are left out.
    """

    least_characters: float = Field(default=30, ge=0)
    """A Chinese sentence says in 30 characters what takes English 100. Ours."""

    most_top_3_gram_share: float = Field(default=0.20, ge=0, le=1)
    """Gopher's bound on 2-grams of words: a Chinese word has some 1.6 characters."""

    most_top_4_gram_share: float = Field(default=0.18, ge=0, le=1)
    """Gopher's bound on 3-grams of words."""

    most_duplicate_5_gram_share: float | None = Field(default=None, ge=0, le=1)
    """Off: five characters are three words, which any good text repeats."""

    most_duplicate_6_gram_share: float | None = Field(default=None, ge=0, le=1)
    """Off, as of 5-grams."""

    most_duplicate_7_gram_share: float | None = Field(default=None, ge=0, le=1)
    """Off, as of 5-grams."""

    most_duplicate_8_gram_share: float = Field(default=0.15, ge=0, le=1)
    """Gopher's bound on 5-grams of words."""

    most_duplicate_9_gram_share: float = Field(default=0.145, ge=0, le=1)
    """Between Gopher's bounds on 5-grams and 6-grams of words."""

    most_duplicate_10_gram_share: float = Field(default=0.14, ge=0, le=1)
    """Gopher's bound on 6-grams of words."""

    least_common_han_share: float = Field(default=0.7, ge=0, le=1)
    """Han characters among the common ones of GB 2312 and Big5. Ours; below lies text that was decoded wrongly."""


class CodeQuality(QualityBounds):
    """Bounds on source code."""

    least_characters: float = Field(default=50, ge=0)
    """Files with fewer characters are dropped. Ours."""

    most_characters: float = Field(default=1_000_000, gt=0)
    """Files with more are data or generated. Ours."""

    most_garbled_share: float = Field(default=0.01, ge=0, le=1)
    """Characters that a wrong encoding left behind. Ours."""

    most_mean_line_characters: float = Field(default=100, gt=0)
    """StarCoder: 100."""

    most_max_line_characters: float = Field(default=1000, gt=0)
    """StarCoder: 1,000."""

    least_alphanumeric_share: float = Field(default=0.25, ge=0, le=1)
    """StarCoder: 0.25."""

    most_digit_share: float = Field(default=0.5, ge=0, le=1)
    """Decimal digits in what is not white space: tables of numbers are data. Ours."""

    most_encoded_line_share: float = Field(default=0.5, ge=0, le=1)
    """Characters of lines with Base64 or bytes in hexadecimal. StarCoder 2: 0.5."""

    most_duplicate_line_character_share: float = Field(default=0.6, ge=0, le=1)
    """Characters of lines seen before in the file. Ours; code repeats lines, generated code little else."""


class QualitySettings(Settings):
    """Quality bounds by class of language."""

    english: EnglishQuality = EnglishQuality()
    """Bounds on English, and on any language kept beside Chinese and code."""

    chinese: ChineseQuality = ChineseQuality()
    """Bounds on Chinese."""

    code: CodeQuality = CodeQuality()
    """Bounds on source code."""


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

    extraction_timeout_seconds: float = Field(default=20, gt=0)
    """A page whose text takes longer to extract is dropped."""

    language: LanguageSettings = LanguageSettings()
    """How a document's language is decided, and which languages stay."""

    quality: QualitySettings = QualitySettings()
    """Quality bounds by class of language."""

    duplicates: DuplicateSettings = DuplicateSettings()
    """Exact and near duplicates."""

    heldout: HeldoutSettings = HeldoutSettings()
    """What is kept from training."""
