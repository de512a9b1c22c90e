"""Phrases: whole words in alphabets, anywhere in Chinese, the longest of those that begin at one place."""

import random
import re

import pyarrow as pa
import pytest

from fromscratch.corpus.kernels.phrases import compile_phrases, count_phrases, find_phrases


def found(text: str, *phrases: str) -> list[str]:
    matches = find_phrases(pa.array([text], pa.large_string()), compile_phrases(phrases))
    assert [matches.begins.tolist()] == [[0, len(matches.phrases)]]
    for phrase, start, end in zip(matches.phrases, matches.starts, matches.ends, strict=True):
        assert " ".join(text[start:end].split()).lower() == phrases[phrase].lower()
    return [phrases[each] for each in matches.phrases]


@pytest.mark.parametrize(
    ("text", "phrases", "expected"),
    [
        ("An ass, a class, assets; ASS", ["ass"], ["ass", "ass"]),
        ("read\nmore, read  more, read more", ["read more"], ["read more", "read more"]),
        ("他妈的，真是的", ["他妈", "他妈的"], ["他妈的"]),
        ("aa登录bb", ["登录"], ["登录"]),
        ("点击此处login now", ["login"], ["login"]),
        ("node.js, g-spot", ["g-spot", ".js"], [".js", "g-spot"]),
        ("性", ["性"], []),
        ("", ["ab"], []),
        ("ab", [], []),
        ("mother's other", ["other"], ["other"]),
        ("𨳒𨳊門", ["𨳒𨳊"], ["𨳒𨳊"]),
    ],
)
def test_what_is_found(text: str, phrases: list[str], expected: list[str]) -> None:
    assert found(text, *phrases) == expected


def test_the_kernel_agrees_with_a_regular_expression_on_random_texts() -> None:
    draw = random.Random(4)
    for _ in range(200):
        phrases = list({"".join(draw.choices("abA 中文", k=draw.randint(2, 4))) for _ in range(6)})
        phrases = [" ".join(each.split()) for each in phrases]
        phrases = [each for each in dict.fromkeys(phrases) if len(each) > 1]
        text = "".join(draw.choices("aAbB \n中文,", k=60))
        words = []
        for phrase in sorted(phrases, key=len, reverse=True):
            before, after = (r"(?<![ab])" if phrase[0] in "abA" else ""), (r"(?![ab])" if phrase[-1] in "abA" else "")
            words.append(before + re.escape(phrase).replace(r"\ ", r"\s") + after)
        expected = [
            " ".join(each.split()).lower() for each in re.findall("|".join(words), text, re.IGNORECASE)
        ] if words else []  # fmt: skip
        assert [each.lower() for each in found(text, *phrases)] == expected


def test_counts_are_those_of_each_text() -> None:
    phrases = compile_phrases(["色情", "赌博", "casino"])
    counts = count_phrases(pa.array(["无", "赌博与色情，赌博", "", "A casino."], pa.large_string()), phrases)
    assert counts.occurrences.tolist() == [0, 3, 0, 1]
    assert counts.distinct.tolist() == [0, 2, 0, 1]
    assert counts.characters.tolist() == [0, 6, 0, 6]
    assert counts.first.tolist() == [-1, 1, -1, 2]


def test_a_slice_of_a_column_is_counted_as_itself() -> None:
    texts = pa.array(["赌博", "no", "赌博赌博"], pa.large_string())[1:]
    assert count_phrases(texts, compile_phrases(["赌博"])).occurrences.tolist() == [0, 2]
