"""Bytes become the characters that their writer meant, or are refused."""

import pytest

from fromscratch.corpus.extraction.encodings import decode, sniff_encoding

SIMPLIFIED = "第一回　宴桃园豪杰三结义，斩黄巾英雄首立功。话说天下大势，分久必合，合久必分。"
TRADITIONAL = "第一回　宴桃園豪傑三結義，斬黃巾英雄首立功。話說天下大勢，分久必合，合久必分。"
FRENCH = "Élève à l'école, déjà très âgé ; où ça ? « Là-bas », répondit-il."
RUSSIAN = "Все люди рождаются свободными и равными в своем достоинстве и правах."
JAPANESE = "すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて平等である。"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (SIMPLIFIED, "utf-8"),
        (SIMPLIFIED, "utf-8-sig"),
        (SIMPLIFIED, "gb18030"),
        (SIMPLIFIED + "㐀𠀀", "gb18030"),  # beyond GBK
        (TRADITIONAL, "big5"),
        (SIMPLIFIED, "utf-16"),
        (SIMPLIFIED, "utf-32"),
        ("plain English", "utf-16-le"),
        ("plain English", "utf-16-be"),
        (FRENCH, "cp1252"),
        (FRENCH, "latin-1"),
        (RUSSIAN, "cp1251"),
        (JAPANESE, "cp932"),
        ("“quoted” — €5", "cp1252"),
        ("", "ascii"),
    ],
)
def test_undeclared_encodings_are_found_out(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("label", "encoding"),
    [("gb2312", "gb18030"), ("GBK", "gb18030"), ("big5", "big5hkscs"), ("x-sjis", "cp932"), ("iso-8859-1", "cp1252")],
)
def test_a_declared_encoding_means_the_larger_set_of_its_family(label: str, encoding: str) -> None:
    text = {"gb18030": "朱镕基", "big5hkscs": "我哋嘅", "cp932": "①株式", "cp1252": "“a”"}[encoding]
    content = text.encode(encoding)
    assert decode(content, label) == text
    page = f'<meta http-equiv="Content-Type" content="text/html; charset={label}">'.encode() + content
    assert (decode(page) or "").endswith(text)


def test_what_the_server_declares_goes_before_what_the_page_says() -> None:
    page = b'<meta charset="windows-1251">' + FRENCH.encode("cp1252")
    assert (decode(page, "windows-1252") or "").endswith(FRENCH)
    assert not (decode(page) or "").endswith(FRENCH)


def test_valid_utf_8_is_believed_against_every_declaration() -> None:
    page = b'<meta charset="gbk">' + SIMPLIFIED.encode()
    assert (decode(page, "iso-8859-1") or "").endswith(SIMPLIFIED)


def test_an_unknown_declaration_is_passed_over() -> None:
    assert decode(SIMPLIFIED.encode("gb18030"), "no-such-charset") == SIMPLIFIED


def test_a_few_broken_bytes_do_not_change_the_encoding() -> None:
    content = bytearray(SIMPLIFIED.encode())
    content[30] = 0xFF
    text = decode(bytes(content))
    assert text is not None and text.startswith(SIMPLIFIED[:10]) and text.endswith(SIMPLIFIED[-20:])
    assert 1 <= text.count("\ufffd") <= 3


def test_line_ends_become_one_kind_and_stray_zeros_go() -> None:
    assert decode(b"a\r\nb\rc\nd") == "a\nb\nc\nd"
    assert decode(b"word " * 100 + b"\0") == "word " * 100


@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)) * 8,
        b"\x7fELF\x02\x01\x01" + bytes(500),
        b"PK\x03\x04" + bytes((index * 37 + 11) % 256 for index in range(2000)),
        bytes(1000),
    ],
)
def test_what_is_no_text_is_refused(content: bytes) -> None:
    assert decode(content) is None


def test_a_stream_cut_within_a_character_still_tells_its_encoding() -> None:
    assert sniff_encoding(SIMPLIFIED.encode()[:-1]) == "utf-8"
    assert sniff_encoding(SIMPLIFIED.encode("gb18030")[:-1]) == "gb18030"
    assert sniff_encoding(SIMPLIFIED.encode("utf-16")) == "utf-16"
    assert sniff_encoding(b"") == "utf-8"
