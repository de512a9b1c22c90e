"""Samples of examples are bounded, always the same, and keep documents whole where there are many."""

from collections.abc import Iterator

import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.learning.samples import sample_pieces


def reader(count: int, characters: int) -> dict[str, list[str]]:
    return {
        name: [f"{name} {number} " + "word " * (characters // 5) for number in range(count)] for name in ("one", "two")
    }


def sample(texts: dict[str, list[str]], megabytes: float = 10) -> tuple[list[str], list[int]]:
    def read(name: str) -> Iterator[tuple[str, str]]:
        return ((f"{name}{number}", text) for number, text in enumerate(texts[name]))

    pieces, parts = sample_pieces(read, tuple(texts), megabytes, "corpus.filters.x")
    return pieces.to_pylist(), parts.tolist()


def test_long_texts_are_cut_at_white_space_and_nothing_is_lost() -> None:
    texts = {"one": ["word " * 30_000], "zh": ["汉字" * 25_000]}
    pieces, parts = sample(texts)
    assert max(map(len, pieces)) == 2000
    assert all(not piece.startswith("ord") and not piece.endswith(" ") for piece in pieces)
    assert " ".join(pieces[:75]).split() == ["word"] * 30_000
    assert "".join(pieces[75:]) == texts["zh"][0]
    assert parts[:12] == [*range(10), 0, 1]


def test_a_part_has_whole_documents_where_there_are_enough() -> None:
    pieces, parts = sample(reader(40, 5000))
    numbers = {" ".join(piece.split()[:2]): part for piece, part in zip(pieces, parts, strict=True) if piece[0] in "ot"}
    assert len(numbers) == 80 and len(pieces) == 240
    assert all(len(set(parts[at : at + 3])) == 1 for at in range(0, 240, 3))


def test_a_sample_keeps_to_its_bound_and_is_the_same_in_any_order() -> None:
    texts = reader(500, 1000)
    pieces, _ = sample(texts, megabytes=0.2)
    assert 0.1e6 < sum(map(len, pieces)) <= 0.2e6
    turned, _ = sample({"two": texts["two"][::-1], "one": texts["one"]}, megabytes=0.2)
    assert sorted(turned) == sorted(pieces)
    assert 0.3 < sum(piece.startswith("one") for piece in pieces) / len(pieces) < 0.7


def test_too_few_examples_are_refused_by_the_name_of_the_setting() -> None:
    with pytest.raises(FromScratchError, match=r"`corpus\.filters\.x`: one, two give 4 pieces"):
        sample(reader(2, 100))
