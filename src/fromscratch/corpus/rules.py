"""Quality rules: each a row of metric, bound and reason; a document keeps or is dropped for the first that it fails."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.language import CODE
from fromscratch.corpus.metrics import Metric
from fromscratch.corpus.settings import QualitySettings

__all__ = ["RULES", "Rule", "judge_quality"]


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
    Rule(Metric.DUPLICATE_LINE_SHARE, "most", "repeated_lines"),
    Rule(Metric.DUPLICATE_LINE_CHARACTER_SHARE, "most", "repeated_lines"),
    Rule(Metric.DUPLICATE_PARAGRAPH_SHARE, "most", "repeated_lines"),
    Rule(Metric.DUPLICATE_PARAGRAPH_CHARACTER_SHARE, "most", "repeated_lines"),
    *(Rule(Metric(Metric.TOP_2_GRAM_SHARE + step), "most", "too_repetitive", short_factor=2) for step in range(9)),
)


def judge_quality(
    languages: NDArray[np.object_],
    domains: NDArray[np.object_],
    metrics: NDArray[np.float32],
    settings: QualitySettings,
) -> NDArray[np.object_]:
    """The reason for which each document is dropped, or None for one that is kept.

    ``languages`` and ``domains`` are [documents], ``metrics`` is [documents, metrics]. English bounds hold for every
    language but Chinese and code.
    """
    reasons = np.full(len(metrics), None, dtype=object)
    for language, domain in sorted(set(zip(languages, domains, strict=True))):
        here = np.flatnonzero((languages == language) & (domains == domain))
        of_class = {"zh": settings.chinese, CODE: settings.code}.get(language, settings.english)
        bounds = of_class.within(domain).model_dump(exclude={"domains"}, exclude_none=True)
        short_words = bounds.get("short_words", 0)
        for rule in RULES:
            if rule.bound in bounds:
                measured, is_short = metrics[here, rule.metric], metrics[here, Metric.WORDS] < short_words
                bound = (bounds[rule.bound] * np.where(is_short, rule.short_factor, 1)).astype(np.float32)
                failed = measured < bound if rule.side == "least" else measured > bound
                reasons[here[failed]] = rule.reason
                here = here[~failed]
    return reasons
