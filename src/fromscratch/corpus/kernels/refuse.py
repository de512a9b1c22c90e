"""What a raw web page tells of its language before it is parsed: letters by script, and samples without markup."""

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.kernels.measure import kernel

__all__ = ["LATIN", "SAMPLES", "SCRIPTS", "read_scripts"]

SCRIPTS = ("Latin", "Han", "kana", "Hangul", "Cyrillic", "Greek", "Hebrew or Arabic", "another script")
LATIN, HAN, KANA, HANGUL, CYRILLIC, GREEK, SEMITIC, OTHER = 0, 1, 2, 3, 4, 5, 6, 7
SAMPLES, SAMPLE_BYTES = 3, 1000
READ_BYTES = 1 << 18  # of a page; what follows is more of the same
LESS, GREATER, SPACE = 0x3C, 0x3E, 0x20


@kernel
def read_scripts(
    data: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """Letters int64[pages, SCRIPTS] outside of markup, samples uint8[pages, SAMPLES, SAMPLE_BYTES], and their lengths.

    The samples begin at a quarter, the half and three quarters of the page's text. What is not UTF-8 has no letters.
    """
    count = len(offsets) - 1
    letters = np.zeros((count, len(SCRIPTS)), np.int64)
    samples = np.zeros((count, SAMPLES, SAMPLE_BYTES), np.uint8)
    lengths = np.zeros((count, SAMPLES), np.int64)
    text = np.empty(READ_BYTES, np.uint8)
    for page in range(count):
        size = strip_markup(data, offsets[page], min(offsets[page + 1], offsets[page] + READ_BYTES), text)
        if not count_letters(text, size, letters[page]):
            letters[page] = 0
            continue
        for sample in range(SAMPLES):
            start = (sample + 1) * size // (SAMPLES + 1)
            while start < size and (text[start] & 0xC0) == 0x80:
                start += 1
            end = min(start + SAMPLE_BYTES, size)
            while end > start and end < size and (text[end] & 0xC0) == 0x80:
                end -= 1
            for at in range(start, end):
                samples[page, sample, at - start] = text[at]
            lengths[page, sample] = end - start
    return letters, samples, lengths


@kernel
def strip_markup(data: NDArray[np.uint8], start: int, end: int, text: NDArray[np.uint8]) -> int:
    """Copy what is outside of tags, comments, scripts and styles, with one space for each; return its length."""
    size = 0
    at = start
    while at < end:
        byte = data[at]
        if byte == LESS and at + 1 < end and not (data[at + 1] <= SPACE or 0x30 <= data[at + 1] <= 0x39):
            at = after_markup(data, at, end)
            byte = SPACE
        else:
            at += 1
        if byte <= SPACE:
            if size and text[size - 1] != SPACE:
                text[size] = SPACE
                size += 1
        else:
            text[size] = byte
            size += 1
    return size


@kernel
def after_markup(data: NDArray[np.uint8], at: int, end: int) -> int:
    """The place after the tag or comment that begins here, and after the whole element if it is a script or style."""
    if at + 3 < end and data[at + 1] == 0x21 and data[at + 2] == 0x2D and data[at + 3] == 0x2D:  # <!--
        place = at + 4
        while place + 2 < end and not (data[place] == 0x2D and data[place + 1] == 0x2D and data[place + 2] == GREATER):
            place += 1
        return place + 3
    second, third = data[at + 1] | 0x20, data[at + 2] | 0x20 if at + 2 < end else 0
    hidden = second == 0x73 and third in (0x63, 0x74) and at + 4 < end and (data[at + 4] | 0x20) in (0x69, 0x6C)
    place = at + 1
    while place < end and data[place] != GREATER:
        place += 1
    if hidden:  # scr-i-pt, sty-l-e: up to </s followed by the same letter
        while place + 3 < end and not (
            data[place] == LESS
            and data[place + 1] == 0x2F
            and (data[place + 2] | 0x20) == second
            and (data[place + 3] | 0x20) == third
        ):
            place += 1
        while place < end and data[place] != GREATER:
            place += 1
    return place + 1


@kernel
def count_letters(text: NDArray[np.uint8], size: int, letters: NDArray[np.int64]) -> bool:
    """Add the letters of each script, told by the lead bytes of UTF-8; false for what is no UTF-8."""
    at = 0
    while at < size:
        byte = text[at]
        if byte < 0x80:
            letters[LATIN] += 0x41 <= (byte & 0xDF) <= 0x5A
            at += 1
            continue
        width = 2 if 0xC2 <= byte < 0xE0 else 3 if 0xE0 <= byte < 0xF0 else 4 if 0xF0 <= byte < 0xF5 else 0
        if not width:
            return False
        for follower in range(at + 1, min(at + width, size)):
            if (text[follower] & 0xC0) != 0x80:
                return False
        script = -1
        if width == 2:
            if 0xC3 <= byte <= 0xC9:
                script = LATIN
            elif byte in (0xCE, 0xCF):
                script = GREEK
            elif 0xD0 <= byte <= 0xD4:
                script = CYRILLIC
            elif 0xD6 <= byte <= 0xDF:
                script = SEMITIC
        elif width == 3 and at + 1 < size:
            second = text[at + 1]
            if byte == 0xE0:
                script = OTHER  # of India and South-East Asia
            elif byte == 0xE1:
                script = LATIN if second in (0xB8, 0xB9, 0xBA, 0xBB) else OTHER
            elif byte == 0xE3 and 0x81 <= second <= 0x83:
                script = KANA
            elif (byte == 0xE3 and second >= 0x90) or 0xE4 <= byte <= 0xE9:
                script = HAN
            elif 0xEA <= byte <= 0xED and not (byte == 0xEA and second < 0xB0):
                script = HANGUL
        elif width == 4:
            script = HAN if byte == 0xF0 and at + 1 < size and text[at + 1] >= 0xA0 else -1
        if script >= 0:
            letters[script] += 1
        at += width
    return True
