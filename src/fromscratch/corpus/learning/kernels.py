"""Compiled parts of the learned filters: the units of a text, linear models over hashed n-grams, n-gram tables.

A unit is a Han character, or a run of other letters and digits in lower case in which all digits are alike, or, where
marks are asked for, any other visible character. Its hash ends in 1 if it is a Han character.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.kernels.characters import DIGIT, HAN, LETTER, SPACE
from fromscratch.corpus.kernels.measure import (
    GRAM_FACTOR,
    HASH_FACTOR,
    HASH_START,
    Classes,
    Lower,
    class_of,
    kernel,
    lower_of,
    spread,
)

__all__ = [
    "LOG_STEPS",
    "all_grams",
    "fill_table",
    "logits",
    "negative_logs",
    "train_weights",
]

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Weights = NDArray[np.float32]

DIGIT_ZERO = 0x30
NOT_HAN = np.uint64(0xFFFFFFFFFFFFFFFE)
BEGIN = np.uint64(0x2545F4914F6CDD1C)  # the unit that stands before a text
TABLE_KEY = np.uint64(0xFFFFFFFFFFFF0000)  # of a slot; the rest is the value
TABLE_VALUE = np.uint64(0xFFFF)
LOG_STEPS = 2048  # of a table's values in a natural logarithm, so that 16 bits reach e^-32
CONTEXT = np.uint64(0x5851F42D4C957F2D)  # tells what follows a context from the n-gram of the same units
MOST_ORDER = 8


@kernel
def read_units(data: Bytes, start: int, end: int, classes: Classes, lower: Lower, marks: bool, units: Hashes) -> int:
    """Write the units of data[start:end], valid UTF-8, into ``units``, which has room for a unit a byte; their number.

    Decoding, classing and hashing go in one loop without the code points ever being stored, because this loop is most
    of what a learned filter costs.
    """
    count, at = 0, start
    hashed, in_word = HASH_START, False
    while at < end:
        point = int(data[at])
        if point < 0x80:
            at += 1
        elif point < 0xE0:
            point = ((point & 0x1F) << 6) | (data[at + 1] & 0x3F)
            at += 2
        elif point < 0xF0:
            point = ((point & 0x0F) << 12) | ((data[at + 1] & 0x3F) << 6) | (data[at + 2] & 0x3F)
            at += 3
        else:
            high = ((point & 0x07) << 18) | ((data[at + 1] & 0x3F) << 12)
            point = high | ((data[at + 2] & 0x3F) << 6) | (data[at + 3] & 0x3F)
            at += 4
        kind = class_of(classes, point)
        if kind & (LETTER | DIGIT) and not kind & HAN:
            letter = DIGIT_ZERO if kind & DIGIT else lower_of(lower, point)
            hashed = (hashed ^ np.uint64(letter)) * HASH_FACTOR
            in_word = True
            continue
        if in_word:
            units[count] = spread(hashed) & NOT_HAN
            count += 1
            hashed, in_word = HASH_START, False
        if kind & HAN:
            units[count] = spread(np.uint64(point)) | np.uint64(1)
            count += 1
        elif marks and not kind & SPACE:
            units[count] = spread(np.uint64(point)) & NOT_HAN
            count += 1
    if in_word:
        units[count] = spread(hashed) & NOT_HAN
        count += 1
    return count


@kernel
def join(first: np.uint64, second: np.uint64) -> np.uint64:
    """The hash of an n-gram, from that of its units but the last, and the last one's."""
    return (first * GRAM_FACTOR) ^ (second + (first >> np.uint64(29)))


@kernel
def read_grams(units: Hashes, count: int, bits: int, grams: NDArray[np.uint32]) -> int:
    """Write the places, of 2^bits, of all units, pairs of units and triples of Han characters; their number."""
    shift = np.uint64(64 - bits)
    found = 0
    before = last = np.uint64(0)  # the hashes of the units before: whose last bits tell Han characters
    for at in range(count):
        unit = units[at]
        grams[found] = (unit * GRAM_FACTOR) >> shift
        found += 1
        if at:
            grams[found] = (join(last, unit) * GRAM_FACTOR) >> shift
            found += 1
            if unit & last & before & np.uint64(1):
                grams[found] = (join(join(before, last), unit) * GRAM_FACTOR) >> shift
                found += 1
        before, last = last, unit
    return found


@kernel
def longest(offsets: Offsets) -> int:
    most = 0
    for document in range(len(offsets) - 1):
        most = max(most, offsets[document + 1] - offsets[document])
    return most


@kernel
def add_weights(grams: NDArray[np.uint32], count: int, weights: Weights, cap: int, out: NDArray[np.float64]) -> float:
    """Add the weighted n-grams to the logits ``out`` [columns]; what an n-gram counted for.

    The sum is divided by the root of the number of n-grams, as if the vector of counts had length 1; of a text with
    more than ``cap`` n-grams it is that of ``cap`` such n-grams, so that a long text is not thought the more certain.
    """
    size = math.sqrt(min(count, cap)) / count if count else 0.0
    if len(out) == 1:
        total = np.float32(0)
        for at in range(count):
            total += weights[grams[at], 0]
        out[0] += size * total
    else:
        for at in range(count):
            for column in range(len(out)):
                out[column] += size * weights[grams[at], column]
    return size


@kernel
def logits(
    data: Bytes, offsets: Offsets, classes: Classes, lower: Lower, weights: Weights, biases: Weights, cap: int
) -> NDArray[np.float64]:
    """Logits [documents, columns] of a model with weights [2^bits, columns]; a first class beside them has logit 0."""
    bits = round(math.log2(len(weights)))
    units = np.empty(longest(offsets), np.uint64)
    grams = np.empty(3 * len(units), np.uint32)
    found = np.empty((len(offsets) - 1, len(biases)), np.float64)
    for document in range(len(offsets) - 1):
        count = read_units(data, offsets[document], offsets[document + 1], classes, lower, True, units)
        found[document] = biases
        add_weights(grams, read_grams(units, count, bits, grams), weights, cap, found[document])
    return found


@kernel
def train_weights(
    data: Bytes,
    offsets: Offsets,
    classes: Classes,
    lower: Lower,
    labels: NDArray[np.int32],
    importance: NDArray[np.float64],
    order: NDArray[np.int64],
    rate: float,
    cap: int,
    weights: Weights,
    biases: Weights,
) -> None:
    """Multinomial logistic regression: AdaGrad (Duchi et al. 2011) over documents in this order, into the weights.

    ``labels`` are classes, 0 for the first, whose logit is 0; ``importance`` [classes] weighs their documents.
    """
    bits = round(math.log2(len(weights)))
    units = np.empty(longest(offsets), np.uint64)
    grams = np.empty(3 * len(units), np.uint32)
    squares = np.full(weights.shape, 1e-6, np.float32)
    bias_squares = np.full(len(biases), 1e-6, np.float32)
    row = np.empty(len(biases), np.float64)
    for document in order:
        units_found = read_units(data, offsets[document], offsets[document + 1], classes, lower, True, units)
        count = read_grams(units, units_found, bits, grams)
        row[:] = biases
        size = add_weights(grams, count, weights, cap, row)
        top = max(0.0, row.max())
        total = math.exp(-top) + np.exp(row - top).sum()
        for column in range(len(row)):
            wrong = math.exp(row[column] - top) / total - (labels[document] == column + 1)
            wrong *= importance[labels[document]]
            bias_squares[column] += wrong * wrong
            biases[column] -= rate * wrong / math.sqrt(bias_squares[column])
            step = np.float32(wrong * size)
            for at in range(count):
                gram = grams[at]
                squares[gram, column] += step * step
                weights[gram, column] -= np.float32(rate) * step / math.sqrt(squares[gram, column])


@kernel
def all_grams(
    data: Bytes, offsets: Offsets, classes: Classes, lower: Lower, order: int
) -> tuple[list[Hashes], NDArray[np.int64]]:
    """Hashes of the n-grams that end at each unit of all texts, by n from 0 to ``order``; which of them to count.

    The texts stand one after the other, without marks, each after ``order`` - 1 times ``BEGIN``.
    """
    units = np.empty(offsets[-1] - offsets[0] + (order - 1) * (len(offsets) - 1), np.uint64)
    ends = np.empty(len(units), np.int64)
    count = told = 0
    for document in range(len(offsets) - 1):
        for _ in range(order - 1):
            units[count] = BEGIN
            count += 1
        found = read_units(data, offsets[document], offsets[document + 1], classes, lower, False, units[count:])
        for _ in range(found):
            ends[told] = count
            told += 1
            count += 1
    grams = [np.zeros(count, np.uint64), units[:count]]
    for _ in range(order - 1):
        longer = units[:count].copy()
        for at in range(1, count):
            longer[at] = join(grams[-1][at - 1], units[at])
        grams.append(longer)
    return grams, ends[:told]


@kernel
def gram_key(gram: np.uint64, length: int) -> np.uint64:
    """Key of an n-gram's own probability; its upper bits tell the slot."""
    return (gram + np.uint64(length)) * GRAM_FACTOR


@kernel
def context_key(gram: np.uint64, length: int) -> np.uint64:
    """Key of what an n-gram leaves to those that were not seen after it."""
    return ((gram ^ CONTEXT) + np.uint64(length)) * GRAM_FACTOR


@kernel
def place_of(table: Hashes, key: np.uint64, shift: np.uint64) -> int:
    """The slot that holds the key, or the empty one where it belongs; the table has 2^(64 - shift) of them."""
    mask = np.uint64(len(table) - 1)
    slot = key >> shift
    while table[slot] != 0 and (table[slot] ^ key) & TABLE_KEY:
        slot = (slot + np.uint64(1)) & mask
    return int(slot)


@kernel
def fill_table(table: Hashes, grams: Hashes, values: NDArray[np.uint16], length: int, of_contexts: bool) -> None:
    """Put the values of n-grams of a length under the upper 48 bits of their keys; an empty slot is 0."""
    shift = np.uint64(64 - round(math.log2(len(table))))
    for at in range(len(grams)):
        key = context_key(grams[at], length) if of_contexts else gram_key(grams[at], length)
        table[place_of(table, key, shift)] = (key & TABLE_KEY) | np.uint64(values[at])


@kernel
def negative_logs(
    data: Bytes, offsets: Offsets, classes: Classes, lower: Lower, table: Hashes, order: int, unknown: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The sum of -ln p over each text's units [documents], and the number of its units.

    A unit has the probability of the longest n-gram that the table knows, times what each longer context leaves to
    unseen ones: the back-off form of an interpolated model. ``unknown`` is the table's value for a unit it lacks.
    """
    units = np.empty(longest(offsets), np.uint64)
    sums, counts = np.zeros(len(offsets) - 1, np.float64), np.zeros(len(offsets) - 1, np.int64)
    shift = np.uint64(64 - round(math.log2(len(table))))
    grams, before = np.empty(MOST_ORDER + 1, np.uint64), np.empty(MOST_ORDER + 1, np.uint64)
    for document in range(len(offsets) - 1):
        count = read_units(data, offsets[document], offsets[document + 1], classes, lower, False, units)
        before[1] = BEGIN
        for length in range(2, order):
            before[length] = join(before[length - 1], BEGIN)
        total = 0
        for at in range(count):
            grams[1] = units[at]
            for length in range(2, order + 1):
                grams[length] = join(before[length - 1], units[at])
            for length in range(order, 0, -1):
                slot = table[place_of(table, gram_key(grams[length], length), shift)]
                if slot:
                    total += int(slot & TABLE_VALUE)
                    break
                if length == 1:
                    total += unknown
                else:
                    context = context_key(before[length - 1], length - 1)
                    total += int(table[place_of(table, context, shift)] & TABLE_VALUE)
            for length in range(1, order):
                before[length] = grams[length]
        sums[document], counts[document] = total / LOG_STEPS, count
    return sums, counts
