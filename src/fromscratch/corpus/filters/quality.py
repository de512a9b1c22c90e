"""Quality rules: each a row of metric, bound and reason; a document is dropped for the first bound that it fails.

Where a bound has a paper, its docstring names it: Gopher (Rae et al. 2021, arXiv 2112.11446, appendix A.1),
C4 (Raffel et al. 2019, 1910.10683), FineWeb (Penedo et al. 2024, 2406.17557), StarCoder (Li et al. 2023, 2305.06161),
StarCoder 2 (Lozhkov et al. 2024, 2402.19173). "Ours" are bounds that were set by reading what they keep and drop.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fromscratch.core.settings import Settings, did_you_mean, refuse
from fromscratch.corpus.filters.filter import Batch, Filter, Verdict
from fromscratch.corpus.filters.parts import Mixed, judge_parts
from fromscratch.corpus.kernels.metrics import Metric

__all__ = ["RULES", "ChineseQuality", "CodeQuality", "EnglishQuality", "Quality", "Rule", "judge_metrics"]


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

    most_words_per_sentence: float | None = Field(default=None, gt=0)
    """Words by sentence ends and one. Ours; off by default, because tables and verse have none."""

    most_menu_share: float | None = Field(default=None, ge=0, le=1)
    """Characters of five or more short lines on end that end no sentence. Yi drops documents with many short and
    consecutive lines (arXiv 2403.04652, section 2); off by default, as the share of short lines is."""

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

    most_duplicate_line_share: float = Field(default=0.4, ge=0, le=1)
    """Gopher: 0.3. Ours: lines are shorter, and documentation has headings that come again under each example."""

    most_duplicate_line_character_share: float = Field(default=0.3, ge=0, le=1)
    """Gopher: 0.2. Ours, for the same reason."""

    most_duplicate_paragraph_share: float = Field(default=0.4, ge=0, le=1)
    """Gopher: 0.3. Ours: as of lines, each of which is a paragraph on most pages."""

    most_duplicate_paragraph_character_share: float = Field(default=0.3, ge=0, le=1)
    """Gopher: 0.2. Ours, for the same reason."""

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

    most_duplicate_8_gram_share: float = Field(default=0.25, ge=0, le=1)
    """Gopher's bound on 5-grams of words is 0.15; ours is looser, because names of things are long: it dropped a
    twelfth of good documentation and news, and strings of key words lie far beyond either."""

    most_duplicate_9_gram_share: float = Field(default=0.24, ge=0, le=1)
    """As of 8-grams."""

    most_duplicate_10_gram_share: float = Field(default=0.23, ge=0, le=1)
    """As of 8-grams."""

    most_words_per_sentence: float | None = Field(default=120, gt=0)
    """Ours; strings of key words and indexes have no sentences. Of good documents 3 in 1,000 have as few."""

    most_menu_share: float | None = Field(default=0.6, ge=0, le=1)
    """Ours; menus, lists of links, indexes. Chapters, news and reviews have none, manuals seldom half."""

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


@dataclass(frozen=True)
class Rule:
    """A bound on one metric. The settings name it ``least_…`` or ``most_…``, and there stands where it comes from."""

    metric: Metric
    side: Literal["least", "most"]
    reason: str
    short_factor: float = 1
    """The bound of short documents by that of others; a lower bound of 0 lets all of them pass."""

    @property
    def bound(self) -> str:
        return f"{self.side}_{self.metric.name.lower()}"


# In the order in which they are tried. A class of language is judged by those whose bound its settings have.
RULES = (
    Rule(Metric.CHARACTERS, "least", "too_short"),
    Rule(Metric.CHARACTERS, "most", "too_long"),
    Rule(Metric.WORDS, "most", "too_long"),
    Rule(Metric.GARBLED_SHARE, "most", "garbled"),
    Rule(Metric.COMMON_HAN_SHARE, "least", "garbled", short_factor=0.7),
    Rule(Metric.LOREM_IPSUM, "most", "filler"),
    Rule(Metric.MEAN_LINE_CHARACTERS, "most", "long_lines"),
    Rule(Metric.MAX_LINE_CHARACTERS, "most", "long_lines"),
    Rule(Metric.ENCODED_LINE_SHARE, "most", "encoded_data"),
    Rule(Metric.DIGIT_SHARE, "most", "numbers"),
    Rule(Metric.ALPHANUMERIC_SHARE, "least", "symbols"),
    Rule(Metric.LETTER_SHARE, "least", "symbols"),
    Rule(Metric.SYMBOL_WORD_RATIO, "most", "symbols"),
    Rule(Metric.CURLY_BRACES, "most", "code_in_text"),
    Rule(Metric.URL_SHARE, "most", "addresses"),
    Rule(Metric.ALPHABETIC_WORD_SHARE, "least", "not_prose", short_factor=0.75),
    Rule(Metric.MEAN_WORD_CHARACTERS, "least", "not_prose"),
    Rule(Metric.MEAN_WORD_CHARACTERS, "most", "not_prose"),
    Rule(Metric.STOP_WORDS, "least", "not_prose", short_factor=0.5),
    Rule(Metric.BULLET_LINE_SHARE, "most", "list"),
    Rule(Metric.ELLIPSIS_LINE_SHARE, "most", "cut_lines"),
    Rule(Metric.SHORT_LINE_SHARE, "most", "short_lines"),
    Rule(Metric.PUNCTUATED_LINE_SHARE, "least", "not_sentences", short_factor=0),
    Rule(Metric.WORDS_PER_SENTENCE, "most", "not_sentences"),
    Rule(Metric.MENU_SHARE, "most", "menu"),
    Rule(Metric.DUPLICATE_LINE_SHARE, "most", "repeated_lines"),
    Rule(Metric.DUPLICATE_LINE_CHARACTER_SHARE, "most", "repeated_lines"),
    Rule(Metric.DUPLICATE_PARAGRAPH_SHARE, "most", "repeated_lines"),
    Rule(Metric.DUPLICATE_PARAGRAPH_CHARACTER_SHARE, "most", "repeated_lines"),
    *(Rule(Metric(Metric.TOP_2_GRAM_SHARE + step), "most", "too_repetitive", short_factor=2) for step in range(9)),
)


class Quality(Filter):
    """Quality bounds by class of language."""

    english: EnglishQuality = EnglishQuality()
    """Bounds on English, and on any language kept beside Chinese and code."""

    chinese: ChineseQuality = ChineseQuality()
    """Bounds on Chinese."""

    code: CodeQuality = CodeQuality()
    """Bounds on source code."""

    mixed: Mixed = Mixed()
    """When a document is judged by its Chinese and its English part."""

    def judge(self, batch: Batch) -> Verdict:
        """The reason of the first rule that a document fails, with the bound and what was measured."""
        judge = partial(judge_metrics, quality=self)
        whole = Verdict(*judge(batch.languages, batch.domains, batch.metrics))
        return judge_parts(batch, self.mixed, judge, whole)


def judge_metrics(
    languages: NDArray[np.object_], domains: NDArray[np.object_], metrics: NDArray[np.float32], quality: Quality
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Reasons and evidence of documents, None for those that stay.

    ``languages`` and ``domains`` are [documents], ``metrics`` is [documents, metrics]. English bounds hold for every
    language but Chinese and code.
    """
    reasons, evidence = (np.full(len(metrics), None, dtype=object) for _ in range(2))
    for language, domain in sorted(set(zip(languages, domains, strict=True))):
        here = np.flatnonzero((languages == language) & (domains == domain))
        of_class = {"zh": quality.chinese, "code": quality.code}.get(language, quality.english)
        bounds = of_class.within(domain).model_dump(exclude={"domains"}, exclude_none=True)
        short_words = bounds.get("short_words", 0)
        for rule in RULES:
            if rule.bound in bounds:
                measured, is_short = metrics[here, rule.metric], metrics[here, Metric.WORDS] < short_words
                bound = (bounds[rule.bound] * np.where(is_short, rule.short_factor, 1)).astype(np.float32)
                failed = measured < bound if rule.side == "least" else measured > bound
                reasons[here[failed]] = rule.reason
                evidence[here[failed]] = [
                    f"{rule.metric.name.lower()} is {value:.4g}, {rule.side} {limit:.4g}"
                    for value, limit in zip(measured[failed], bound[failed], strict=True)
                ]
                here = here[~failed]
    return reasons, evidence
