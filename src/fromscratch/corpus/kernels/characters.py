"""Tables over Unicode that the kernels look characters up in: what class a code point has, and its lower case."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BASE64",
    "BULLET",
    "CODE_SYMBOL",
    "COMMON_HAN",
    "DIGIT",
    "GARBLED",
    "HAN",
    "KANA",
    "LETTER",
    "SENTENCE_END",
    "SENTENCE_STOP",
    "SPACE",
    "TABLE_END",
    "CharacterTables",
    "character_tables",
]

# The bits of a class.
SPACE, LETTER, DIGIT, HAN, KANA, GARBLED = 1, 2, 4, 8, 16, 32
COMMON_HAN, SENTENCE_END, CODE_SYMBOL, BULLET, BASE64, SENTENCE_STOP = 64, 128, 256, 512, 1024, 2048

TABLE_END = 0x20000  # beyond lie Han extensions, then private planes; kernels know these by range

HAN_RANGES = ((0x3005, 0x3008), (0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00))
KANA_RANGES = (
    (0x3041, 0x3097),
    (0x309D, 0x30A0),
    (0x30A1, 0x30FB),
    (0x30FD, 0x3100),
    (0x31F0, 0x3200),
    (0xFF66, 0xFF9E),
)
GARBLED_RANGES = ((0x00, 0x09), (0x0E, 0x20), (0x7F, 0x85), (0x86, 0xA0), (0xD800, 0xF900), (0xFFFD, 0x10000))
MEMBERS = {
    SENTENCE_END: '.!?"”’。！？…」』؟۔।॥',  # C4 has the first four
    SENTENCE_STOP: ".!?。！？…؟۔।॥",
    CODE_SYMBOL: "#$%&()*+/;<=>@[\\]^_{|}~",
    BULLET: "-*•‣⁃◦▪▫■□●○▶◀·",
    BASE64: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
}


@dataclass(frozen=True)
class CharacterTables:
    """Indexed by code point, for code points under ``TABLE_END``."""

    classes: NDArray[np.uint16]
    lower: NDArray[np.int32]


@cache
def character_tables() -> CharacterTables:
    """Built once in a process, in some 30 ms, from the Unicode database of the running Python."""
    classes = np.zeros(TABLE_END, np.uint16)
    lower = np.arange(TABLE_END, dtype=np.int32)
    for point in range(TABLE_END):
        character = chr(point)
        if character.isalpha():
            classes[point] |= LETTER
            lowered = character.lower()
            if len(lowered) == 1:
                lower[point] = ord(lowered)
        elif character.isdecimal():
            classes[point] |= DIGIT
        elif character.isspace():
            classes[point] |= SPACE
    for ranges, bit in ((HAN_RANGES, HAN | LETTER), (KANA_RANGES, KANA), (GARBLED_RANGES, GARBLED)):
        for start, end in ranges:
            classes[start:end] |= bit
    for bit, members in {**MEMBERS, COMMON_HAN: _first_level_han()}.items():
        classes[[ord(character) for character in members]] |= bit
    return CharacterTables(classes, lower)


def _first_level_han() -> str:
    """The 3,755 simplified characters of GB 2312's first level and the 5,401 traditional ones of Big5's.

    Both standards put the characters in use first. UTF-8 that was read as GBK shows mostly rarer ones.
    """
    gb2312 = bytes(byte for lead in range(0xB0, 0xD8) for trail in range(0xA1, 0xFF) for byte in (lead, trail)).decode(
        "gb2312", errors="ignore"
    )
    big5 = bytes(
        byte
        for lead in range(0xA4, 0xC7)
        for trail in (*range(0x40, 0x7F), *range(0xA1, 0xFF))
        for byte in (lead, trail)
    ).decode("big5", errors="ignore")
    return "".join(character for character in gb2312 + big5 if "\u4e00" <= character < "\ua000")
