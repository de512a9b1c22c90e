"""The measuring kernel against the published definitions, written down once more in plain Python."""

import re
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fromscratch.corpus.kernels.characters import character_tables
from fromscratch.corpus.kernels.measure import measure
from fromscratch.corpus.kernels.metrics import METRIC_NAMES
from fromscratch.corpus.kernels.text_buffers import text_buffers

PAGES = Path(__file__).parent.parent / "fixtures" / "pages"
BULLETS = tuple("-*•‣⁃◦▪▫■□●○▶◀·")
SENTENCE_ENDS = tuple('.!?"”’。！？…」』؟۔।॥')
SENTENCE_STOPS = re.compile("([.!?。！？…؟۔।॥]+)(.?)", re.DOTALL)
GOPHER_STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}


def measured(*texts: str) -> list[dict[str, float]]:
    tables = character_tables()
    rows = measure(*text_buffers(pa.array(texts, pa.large_string())), tables.classes, tables.lower)
    return [dict(zip(METRIC_NAMES, row.tolist(), strict=True)) for row in rows]


def share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def is_han(character: str) -> bool:
    name = unicodedata.name(character, "")
    return character in "々〆〇" or (name.startswith("CJK") and "IDEOGRAPH" in name) or "𠀀" <= character < "\U00040000"


def is_kana(character: str) -> bool:
    name = unicodedata.name(character, "")
    return character.isalpha() and name.startswith(("HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA"))


def is_common_han(character: str) -> bool:
    if not "\u4e00" <= character < "\ua000":
        return False
    gb, big5 = character.encode("gb2312", "ignore"), character.encode("big5", "ignore")
    return (len(gb) == 2 and 0xB0 <= gb[0] <= 0xD7) or (len(big5) == 2 and 0xA4 <= big5[0] <= 0xC6)


def words_of(text: str) -> list[tuple[int, int]]:
    """Spans of words, by a regular expression over the letters H(an), L(etter or digit), P(unctuation), S(pace)."""
    kinds = "".join(
        "H" if is_han(c) else "S" if c.isspace() else "L" if c.isalpha() or c.isdecimal() else "P" for c in text
    )
    return [match.span() for match in re.finditer("P*(?:HP*|L[LP]*)|P+", kinds)]


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def duplicates_of(items: list[str]) -> list[str]:
    seen: set[str] = set()
    return [item for item in items if item in seen or seen.add(item)]  # type: ignore[func-returns-value]


def characters_by_definition(text: str) -> dict[str, float]:
    visible = [c for c in text if not c.isspace()]
    letters = [c for c in text if c.isalpha() or is_han(c)]
    digits = [c for c in text if c.isdecimal()]
    han = [c for c in text if is_han(c)]
    control = [c for c in text if unicodedata.category(c) in ("Cc", "Co") and c not in "\t\n\v\f\r\x85"]
    mojibake = re.findall("[\u00c2\u00c3][\u0080-\u00bf\u2013-\u203a\u20ac\u2122]|\u00e2\u20ac", text)
    addresses, address = 0, False
    for at, c in enumerate(text):
        address = not (c.isspace() or is_han(c) or is_kana(c) or c in "<>") and (
            address or re.match(r"https?://|www\.", text[at:], re.IGNORECASE | re.ASCII) is not None
        )
        addresses += address
    return {
        "characters": len(text),
        "han_share": share(len(han), len(letters)),
        "kana_share": share(sum(map(is_kana, text)), len(letters)),
        "common_han_share": share(sum(map(is_common_han, han)), len(han)) if han else 1.0,
        "letter_share": share(len(letters), len(visible)),
        "digit_share": share(len(digits), len(visible)),
        "alphanumeric_share": share(len(letters) + len(digits), len(text)),
        "code_symbol_share": share(sum(c in "#$%&()*+/;<=>@[\\]^_{|}~" for c in text), len(visible)),
        "garbled_share": min(share(len(control) + text.count("\ufffd") + 2 * len(mojibake), len(text)), 1.0),
        "url_share": share(addresses, len(text)),
        "curly_braces": text.count("{") + text.count("}"),
        "lorem_ipsum": text.lower().count("lorem ipsum"),
    }


def ends_sentence(stops: re.Match[str]) -> bool:
    after = stops[2]
    return not stops[1].isascii() or not after or after.isspace() or is_han(after)


def words_by_definition(text: str) -> dict[str, float]:
    words = [text[start:end] for start, end in words_of(text)]
    bare = {re.sub(r"^[\W\d_]+|[\W\d_]+$", "", word).lower() for word in words}
    return {
        "words": len(words),
        "mean_word_characters": share(sum(map(len, words)), len(words)),
        "symbol_word_ratio": share(max(text.count("#"), text.count("...") + text.count("…")), len(words)),
        "alphabetic_word_share": share(sum(any(c.isalpha() or is_han(c) for c in word) for word in words), len(words)),
        "stop_words": len(bare & GOPHER_STOP_WORDS),
        "words_per_sentence": len(words) / (1 + sum(map(ends_sentence, SENTENCE_STOPS.finditer(text)))),
    }


def is_encoded(line: str) -> bool:
    for run in re.findall("[A-Za-z0-9+/]+", line):
        digits = 0
        for length, character in enumerate(run, start=1):
            digits += character.isdigit()
            if length >= 64 and digits * 16 >= length:
                return True
    return len(re.findall(r"(?:0|\\)x", line)) >= 8


def menu_runs(lines: list[str]) -> list[list[int]]:
    """Lengths of the lines of each menu."""
    marks = "".join("m" if len(line) <= 30 and not line.endswith(SENTENCE_ENDS) else "-" for line in lines)
    return [[len(line) for line in lines[run.start() : run.end()]] for run in re.finditer("m{5,}", marks)]


def lines_by_definition(text: str) -> dict[str, float]:
    lines = lines_of(text)
    repeated = duplicates_of(lines)
    paragraphs = [lines_of(part) for part in re.split(r"\n[^\S\n]*\n", text)]
    paragraphs = [part for part in paragraphs if part]
    repeated_paragraphs = duplicates_of(["\n".join(part) for part in paragraphs])
    return {
        "lines": len(lines),
        "mean_line_characters": share(sum(map(len, lines)), len(lines)),
        "max_line_characters": max(map(len, lines), default=0),
        "short_line_share": share(sum(len(line) <= 30 for line in lines), len(lines)),
        "punctuated_line_share": share(sum(line.endswith(SENTENCE_ENDS) for line in lines), len(lines)),
        "ellipsis_line_share": share(sum(line.endswith(("...", "…")) for line in lines), len(lines)),
        "bullet_line_share": share(sum(line.startswith(BULLETS) for line in lines), len(lines)),
        "menu_share": share(sum(sum(run) for run in menu_runs(lines)), sum(map(len, lines))),
        "encoded_line_share": share(sum(len(line) for line in lines if is_encoded(line)), sum(map(len, lines))),
        "duplicate_line_share": share(len(repeated), len(lines)),
        "duplicate_line_character_share": share(sum(map(len, repeated)), len(text)),
        "duplicate_paragraph_share": share(len(repeated_paragraphs), len(paragraphs)),
        "duplicate_paragraph_character_share": share(
            sum(len(part.replace("\n", "")) for part in repeated_paragraphs), len(text)
        ),
    }


def grams_by_definition(text: str) -> dict[str, float]:
    spans = words_of(text)
    words = [text[start:end] for start, end in spans]
    shares = {}
    for n in range(2, 5):
        grams = [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
        counts = Counter(grams)
        most = max(counts.values(), default=1)
        covered, passed = 0, Counter[tuple[str, ...]]()
        for at, gram in enumerate(
            grams
        ):  # the n-gram's length is that of the text it spans where it completes the count
            passed[gram] += 1
            if most > 1 and passed[gram] == most:
                covered = max(covered, most * (spans[at + n - 1][1] - spans[at][0]))
        shares[f"top_{n}_gram_share"] = min(share(covered, len(text)), 1.0)
    for n in range(5, 11):
        seen, repeated, at = set(), 0, 0
        while at <= len(words) - n:
            gram = tuple(words[at : at + n])
            repeated += sum(map(len, gram)) if gram in seen else 0
            at += n if gram in seen else 1
            seen.add(gram)
        shares[f"duplicate_{n}_gram_share"] = share(repeated, len(text))
    return shares


def by_definition(text: str) -> dict[str, float]:
    return {
        **characters_by_definition(text),
        **words_by_definition(text),
        **lines_by_definition(text),
        **grams_by_definition(text),
    }


def assert_equal(found: dict[str, float], text: str) -> None:
    expected = by_definition(text)
    assert found.keys() == expected.keys()
    wrong = {name: (found[name], expected[name]) for name in found if not np.isclose(found[name], expected[name])}
    assert not wrong, f"(kernel, definition) in {text[:80]!r}…: {wrong}"


ALPHABET = st.sampled_from(
    [*"aAbe tTho.,!?…\n\n  \t-•#0178/+=<>{}(\\x\"'", "你", "好", "的", "。", "，", "々", "か", "キ", "й", "é", "Ã", "Â",
     "\xa0", "©", "â", "€", "\ufffd", "\x00", "\x7f", "\ue000", "𠀀", "😀", "\u200b", "\u3000", "٣", "한"]
)  # fmt: skip
PIECES = st.sampled_from(
    ["the ", "be to of and ", "that have with ", "the cat sat ", "你好世界", "\n\n", "\n", "...", "http://a.b/c ",
     "www.x.y", "Lorem Ipsum", "A1b2" * 16, "AbCd" * 17, "\\x41" * 8, "0x" * 8, "- one\n", "一样一样一样", "Ã©"]
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(ALPHABET | PIECES, max_size=60).map("".join))
def test_every_metric_follows_its_definition_on_made_up_texts(text: str) -> None:
    assert_equal(measured(text)[0], text)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=80))
def test_every_metric_follows_its_definition_on_any_unicode(text: str) -> None:
    assert_equal(measured(text)[0], text)


def test_every_metric_follows_its_definition_on_real_texts() -> None:
    paths = [each for each in sorted(PAGES.rglob("*")) if each.suffix in (".txt", ".html", ".yml")]
    texts = [path.read_text(encoding="utf-8") for path in (*paths[::2], Path(np.__file__), Path(re.__file__))]
    assert len(texts) > 45
    for text, found in zip(texts, measured(*texts), strict=True):
        assert_equal(found, text)


def test_a_document_is_measured_the_same_alone_and_among_others() -> None:
    texts = ["One line.\nOne line.", "", "你好，世界。" * 20, "x = 1\n"]
    together = measured(*texts)
    assert together == [measured(text)[0] for text in texts]


@pytest.mark.parametrize(
    ("text", "metric", "expected"),
    [
        ("one two one two", "top_2_gram_share", 14 / 15),  # “one two”, twice 7 of 15 characters
        ("a b c d e a b c d e", "duplicate_5_gram_share", 5 / 19),
        ("画蛇添足", "words", 4),
        ("他说：“好，走！”", "words", 4),
        ("一二三。四五六！？七八", "words_per_sentence", 8 / 3),
        ("3.14 is e.g. less. 四.五", "words_per_sentence", 6 / 4),
        ("\n".join(["首页", "新闻", "论坛", "下载", "关于我们", "这里是一句完整的话。"]), "menu_share", 12 / 22),
        ("\n".join(["首页", "新闻", "论坛", "下载", "这里是一句完整的话。"]), "menu_share", 0),
        ("", "common_han_share", 1),
        ("see https://example.org/a?b=c, now", "url_share", 26 / 34),
        ("涓枃缁", "common_han_share", 1 / 3),  # 中文维 in UTF-8, read as GBK
    ],
)
def test_examples_by_hand(text: str, metric: str, expected: float) -> None:
    assert measured(text)[0][metric] == pytest.approx(expected)
