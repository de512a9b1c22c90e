"""FastText's quantised classifiers, read by a kernel of ours that gives the library's answers to the last bit.

The models are those of Joulin et al. 2016 (arXiv 1612.03651). A document takes a quarter of the library's time, most of
which goes into looking n-grams up.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.kernels.measure import kernel
from fromscratch.corpus.kernels.text_buffers import text_buffers

__all__ = ["QuantisedModel", "first_guesses", "read_model"]

MAGIC, VERSION, HIERARCHICAL = 793712314, 12, 1
CENTROIDS = 256
HASH_START, HASH_FACTOR = np.uint32(2166136261), np.uint32(16777619)  # FNV-1a
SEPARATORS = np.array([chr(byte) in " \n\r\t\v\f\0" for byte in range(0x100)])
LINE_END = np.frombuffer(b"</s>", np.uint8)  # a word of its own
LABEL = np.frombuffer(b"__label__", np.uint8)  # begins what is no word
BEFORE, AFTER = np.uint8(ord("<")), np.uint8(ord(">"))  # around a word
Bytes = NDArray[np.uint8]
Places = NDArray[np.int32]
Row = NDArray[np.float32]
Rows = NDArray[np.float32]
LEAST_LOGARITHM = np.float32(np.log(1e-5))  # of a probability


class QuantisedModel(NamedTuple):
    """W words · N n-grams that are kept · L labels · K width."""

    labels: tuple[str, ...]
    rows: NDArray[np.float32]
    """[W + N, K] of the words and n-grams."""
    slots: NDArray[np.int32]
    """[2^n] an open hash table of the words; -1 marks an empty slot."""
    begins: NDArray[np.int64]
    """[W + 1] where the bytes of a word begin."""
    letters: NDArray[np.uint8]
    """The bytes of all words."""
    row_of_gram: NDArray[np.int32]
    """[buckets] -1 where none is kept."""
    lengths: NDArray[np.int64]
    """The least and the most characters of an n-gram."""
    output: NDArray[np.float32]
    """[L - 1, K] of the inner nodes of the tree over the labels."""
    children: NDArray[np.int32]
    """[2 L - 1, 2] of its nodes: the labels first, which have none, and the root last."""


class _File:
    """A file that is read from its beginning to its end."""

    def __init__(self, path: Path) -> None:
        self.path, self.content, self.at = path, path.read_bytes(), 0

    def array(self, kind: str, count: int) -> NDArray[Any]:
        values: NDArray[Any] = np.frombuffer(self.content, kind, count, self.at)
        self.at += values.nbytes
        return values

    def number(self, kind: str) -> int:
        return int(self.array(kind, 1)[0])

    def entry(self) -> tuple[bytes, int]:
        """A word or label, and how often it came."""
        end = self.content.index(b"\0", self.at)
        word, count = self.content[self.at : end], int.from_bytes(self.content[end + 1 : end + 9], "little")
        self.at = end + 10
        return word, count

    def expect(self, known: bool) -> None:
        if not known:
            raise FromScratchError(
                f"{self.path}: not a quantised fastText model over a tree of labels", "lid.176.ftz is one"
            )


def read_model(path: Path) -> QuantisedModel:
    """The model of a .ftz file with n-grams of characters, none of words, and hierarchical softmax.

    Raises FromScratchError for another.
    """
    file = _File(path)
    file.expect(len(file.content) > 100)
    magic, version, *_, word_grams, loss, _, buckets, least, most, _ = file.array("<i4", 14).tolist()
    file.expect((magic, version, word_grams, loss) == (MAGIC, VERSION, 1, HIERARCHICAL))
    file.at += 8
    _, word_count, label_count = file.array("<i4", 3).tolist()
    file.at += 8
    gram_count = file.number("<i8")
    words, labels = ([file.entry() for _ in range(count)] for count in (word_count, label_count))
    file.expect(gram_count > 0)
    grams = file.array("<i4", 2 * gram_count).reshape(-1, 2)
    row_of_gram = np.full(buckets, -1, np.int32)
    row_of_gram[grams[:, 0]] = word_count + grams[:, 1]
    file.expect(file.number("?") == 1)
    rows = _dequantised(file)
    file.expect(file.number("?") == 0)
    shape = file.array("<i8", 2)
    output = file.array("<f4", int(shape.prod())).reshape(shape)
    return QuantisedModel(
        tuple(label.removeprefix(LABEL.tobytes()).decode() for label, _ in labels),
        rows,
        _slots([word for word, _ in words]),
        np.cumsum([0, *(len(word) for word, _ in words)]),
        np.frombuffer(b"".join(word for word, _ in words), np.uint8),
        row_of_gram,
        np.array([least, most]),
        output,
        _tree([count for _, count in labels]),
    )


def _dequantised(file: _File) -> NDArray[np.float32]:
    """The input matrix, of which the file has 256 vectors for every few columns, and factors for the rows."""
    has_factors = file.number("?")
    count, _ = file.array("<i8", 2).tolist()
    size = file.number("<i4")
    codes = file.array("u1", size).reshape(count, -1)
    values = _centroids(file)
    rows = np.concatenate([values[part][codes[:, part]] for part in range(codes.shape[1])], axis=1)
    if has_factors:
        codes = file.array("u1", count)
        rows *= _centroids(file)[0, codes]
    return rows


def _centroids(file: _File) -> NDArray[np.float32]:
    """[parts, 256, columns of a part]"""
    width, parts, columns, last = file.array("<i4", 4).tolist()
    file.expect(columns == last)
    return file.array("<f4", width * CENTROIDS).reshape(parts, CENTROIDS, columns)


def _slots(words: list[bytes]) -> NDArray[np.int32]:
    slots = np.full(1 << (2 * len(words)).bit_length(), -1, np.int32)
    for number, word in enumerate(words):
        slot = int(hash_of_word(np.frombuffer(word, np.uint8))) % len(slots)
        while slots[slot] >= 0:
            slot = (slot + 1) % len(slots)
        slots[slot] = number
    return slots


def _tree(counts: list[int]) -> NDArray[np.int32]:
    """Huffman's tree as fastText builds it: of labels in descending order of their counts."""
    labels = len(counts)
    weights = [*counts, *[10**15] * (labels - 1)]
    children = np.full((2 * labels - 1, 2), -1, np.int32)
    leaf, node = labels - 1, labels
    for parent in range(labels, 2 * labels - 1):
        for side in range(2):
            if leaf >= 0 and weights[leaf] < weights[node]:
                children[parent, side], leaf = leaf, leaf - 1
            else:
                children[parent, side], node = node, node + 1
        weights[parent] = sum(weights[child] for child in children[parent])
    return children


def first_guesses(model: QuantisedModel, lines: pa.LargeStringArray) -> list[tuple[str, float]]:
    """The most probable label of each text without line feeds, and its probability."""
    labels, scores = guess(
        *text_buffers(lines),
        model.rows,
        model.slots,
        model.begins,
        model.letters,
        model.row_of_gram,
        model.lengths,
        model.output,
        model.children,
    )
    return [(model.labels[label], float(score)) for label, score in zip(labels, scores, strict=True)]


@kernel
def hash_step(hashed: np.uint32, byte: np.uint8) -> np.uint32:
    return np.uint32((hashed ^ np.uint32(np.int8(byte))) * HASH_FACTOR)  # the library's bytes have a sign


@kernel
def hash_of_word(word: Bytes) -> np.uint32:
    hashed = HASH_START
    for byte in word:
        hashed = hash_step(hashed, byte)
    return hashed


@kernel
def guess(
    data: Bytes,
    offsets: NDArray[np.int64],
    rows: Rows,
    slots: Places,
    begins: NDArray[np.int64],
    letters: Bytes,
    row_of_gram: Places,
    lengths: NDArray[np.int64],
    output: Rows,
    children: Places,
) -> tuple[Places, Row]:
    """The most probable label of each text data[offsets[i]:offsets[i + 1]], and its probability."""
    labels, scores = np.empty(len(offsets) - 1, np.int32), np.empty(len(offsets) - 1, np.float32)
    mean = np.empty(rows.shape[1], np.float32)
    for text in range(len(labels)):
        mean[:] = 0
        start, end = offsets[text], offsets[text + 1]
        found = 0
        for at in range(start, end + 1):
            if at < end and not SEPARATORS[data[at]]:
                continue
            word = data[start:at]
            start = at + 1
            if not len(word) or (len(word) >= len(LABEL) and is_same(word[: len(LABEL)], LABEL)):
                continue
            if is_same(word, LINE_END):
                break
            found += add_row(mean, rows, number_of_word(word, slots, begins, letters))
            found += add_grams(mean, rows, word, row_of_gram, lengths)
        found += add_row(mean, rows, number_of_word(LINE_END, slots, begins, letters))
        mean *= np.float32(1.0 / found)
        labels[text], scores[text] = best_label(mean, output, children)
    return labels, scores


@kernel
def number_of_word(word: Bytes, slots: Places, begins: NDArray[np.int64], letters: Bytes) -> int:
    """The number of a word, or -1."""
    slot = int(hash_of_word(word)) % len(slots)
    while slots[slot] >= 0:
        number = slots[slot]
        if is_same(word, letters[begins[number] : begins[number + 1]]):
            return int(number)
        slot = (slot + 1) % len(slots)
    return -1


@kernel
def is_same(word: Bytes, other: Bytes) -> bool:
    if len(word) != len(other):
        return False
    for at in range(len(word)):  # noqa: SIM110 (numba has no generators)
        if word[at] != other[at]:
            return False
    return True


@kernel
def add_row(mean: Row, rows: Rows, number: int) -> int:
    """Add a row, if its number is none below 0; return how many were added."""
    if number < 0:
        return 0
    for column in range(len(mean)):
        mean[column] += rows[number, column]
    return 1


@kernel
def add_grams(mean: Row, rows: Rows, word: Bytes, row_of_gram: Places, lengths: NDArray[np.int64]) -> int:
    """Add the rows of a word's n-grams, `<` and `>` around it being part of them; return how many there were."""
    framed = np.empty(len(word) + 2, np.uint8)
    framed[0], framed[1:-1], framed[-1] = BEFORE, word, AFTER
    found = 0
    for start in range(len(framed)):
        if framed[start] & 0xC0 == 0x80:  # within a character
            continue
        hashed = HASH_START
        at, length = start, 0
        while at < len(framed) and length < lengths[1]:
            hashed = hash_step(hashed, framed[at])
            at, length = at + 1, length + 1
            while at < len(framed) and framed[at] & 0xC0 == 0x80:
                hashed = hash_step(hashed, framed[at])
                at += 1
            if length >= lengths[0] and not (length == 1 and (start == 0 or at == len(framed))):
                found += add_row(mean, rows, row_of_gram[int(hashed) % len(row_of_gram)])
    return found


@kernel
def best_label(mean: Row, output: Rows, children: Places) -> tuple[int, float]:
    """The label and its probability: the library's search through the tree, in its order and precision."""
    best, best_score = -1, np.float32(-np.inf)
    nodes, scores = np.empty(len(children), np.int32), np.empty(len(children), np.float32)
    nodes[0], scores[0], waiting = len(children) - 1, 0, 1
    while waiting:
        waiting -= 1
        node, score = nodes[waiting], scores[waiting]
        if score < LEAST_LOGARITHM or score < best_score:
            continue
        if children[node, 0] < 0:
            best, best_score = node, score
            continue
        product = np.float32(0)
        for column in range(len(mean)):
            product += output[node - (len(children) + 1) // 2, column] * mean[column]
        right = np.float32(1.0 / np.float64(np.float32(1) + np.exp(-product)))
        nodes[waiting], scores[waiting] = children[node, 1], score + logarithm(right)
        nodes[waiting + 1], scores[waiting + 1] = children[node, 0], score + logarithm(np.float32(1.0 - right))
        waiting += 2
    return best, np.exp(best_score)


@kernel
def logarithm(share: np.float32) -> np.float32:
    return np.float32(np.log(np.float64(share) + 1e-5))
