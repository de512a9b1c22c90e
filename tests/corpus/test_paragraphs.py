"""Paragraphs: equal ones have equal hashes, what was seen too often goes, and the rest of a text stays as it was."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from fromscratch.corpus.comparison.paragraphs import cut_paragraphs, paragraph_hashes, repeated_paragraphs
from fromscratch.corpus.comparison.settings import ParagraphSettings

TEN = ParagraphSettings(least_bytes=10)


def column(*texts: str) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def hashes(*texts: str) -> list[list[int]]:
    return paragraph_hashes(column(*texts), TEN).to_pylist()


def test_a_paragraph_is_a_line_of_some_bytes() -> None:
    [english, chinese, nothing, empty] = hashes(
        "short\nlong enough\n\nanother long one", "保留所有权利\n首页", "no\n", ""
    )
    assert (len(english), len(chinese), nothing, empty) == (2, 1, [], [])
    assert len({*english, *chinese}) == 3


def test_case_and_white_space_do_not_tell_paragraphs_apart() -> None:
    [[first], *others] = hashes("All Rights Reserved.", "  all rights\t reserved. ", "ALL\u3000RIGHTS RESERVED.\r")
    assert others == [[first], [first]]
    assert hashes("AllRights Reserved.")[0] != [first]
    assert hashes("All Rights Reserved!")[0] != [first]


def test_lines_without_letters_are_not_told_apart() -> None:
    assert hashes("==========\n1234567890\n——————") == [[0, 0, 0]]


def test_without_a_bound_there_are_no_hashes() -> None:
    assert paragraph_hashes(column("long enough to count"), ParagraphSettings(most_documents=None)).to_pylist() == [[]]


def test_slices_of_a_column_are_hashed_alike() -> None:
    texts = column("long enough", "another long one", "保留所有权利")
    assert paragraph_hashes(texts.slice(1), TEN).to_pylist() == hashes("another long one", "保留所有权利")


def cut(text: str, *marks: bool) -> str:
    return cut_paragraphs(column("before it", text), np.array(marks), TEN).to_pylist()[1]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("CUT THIS LINE\nkeep", "keep"),
        ("keep\nCUT THIS LINE\nkeep too", "keep\nkeep too"),
        ("keep\nCUT THIS LINE", "keep"),
        ("keep\n\nCUT THIS LINE\n\nkeep too\n", "keep\n\nkeep too\n"),
        ("keep\n\nCUT THIS LINE\n\n\nkeep too", "keep\n\nkeep too"),
        ("CUT THIS LINE\n\nkeep", "keep"),
        ("keep\n\nCUT THIS LINE\n\n", "keep"),
        ("删去这一行的全部\n留下", "留下"),
        ("CUT THIS LINE", ""),
    ],
)
def test_a_cut_leaves_no_gap(text: str, left: str) -> None:
    assert cut(text, True) == left


def test_what_is_not_cut_stays_byte_by_byte() -> None:
    text = "\n\n  a longer line \t\r\n\n\n\nx\n另一个更长的行\n\n"
    assert cut(text, False, False) == text


def test_cuts_find_their_documents() -> None:
    texts = column("first one of it\nsecond of it\nshort", "", "third of them\nfourth of them")
    marks = np.array([True, False, False, True])
    assert cut_paragraphs(texts, marks, TEN).to_pylist() == ["second of it\nshort", "", "third of them"]


def repeated(documents: list[list[int]], seen: list[int], most: int) -> tuple[list[list[bool]], list[int]]:
    begins, counts = np.cumsum([0, *map(len, documents)]), np.array(seen, np.int64)
    marks = repeated_paragraphs(
        np.array([each for document in documents for each in document], np.int64), begins, counts, most
    )
    return [marks[start:end].tolist() for start, end in pairwise(begins)], counts.tolist()


def test_the_first_documents_keep_a_paragraph_and_later_ones_lose_it() -> None:
    marks, counts = repeated([[0, 1], [0], [0, 2], [2]], [0, 0, 0], most=2)
    assert marks == [[False, False], [False], [True, False], [False]]
    assert counts == [2, 1, 2]


def test_a_document_that_repeats_itself_counts_once() -> None:
    marks, counts = repeated([[0, 0, 0], [0, 0], [0]], [0], most=2)
    assert marks == [[False] * 3, [False] * 2, [True]]
    assert counts == [2]


def test_counts_go_on_from_earlier_documents() -> None:
    documents = [[0, 1], [1], [0], [1, 2], [0, 2]]
    whole, _ = repeated(documents, [0, 0, 0], most=2)
    first, counts = repeated(documents[:2], [0, 0, 0], most=2)
    assert first + repeated(documents[2:], counts, most=2)[0] == whole
