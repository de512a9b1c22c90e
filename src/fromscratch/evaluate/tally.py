"""Bits of single documents, added up to bits per byte, with how sure the lead over the bigram is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tally", "row"]


@dataclass(frozen=True)
class Tally:
    """What each of D documents holds, and how many bits each model or baseline needs for it. All arrays are [D]."""

    tokens: NDArray[np.int64]
    bytes: NDArray[np.int64]
    bits: Mapping[str, NDArray[np.float64]]

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """The documents of all parts, which were scored by the same models and baselines."""
        bits = {name: np.concatenate([each.bits[name] for each in parts]) for name in parts[0].bits}
        tokens = np.concatenate([each.tokens for each in parts])
        return cls(tokens, np.concatenate([each.bytes for each in parts]), bits)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        bits = {name: np.array(each, np.float64) for name, each in value["bits"].items()}
        return cls(np.array(value["tokens"], np.int64), np.array(value["bytes"], np.int64), bits)

    def as_json(self) -> dict[str, Any]:
        """Plain values; bits to three digits, which is less than the order of additions may move them."""
        bits = {name: [round(float(each), 3) for each in values] for name, values in self.bits.items()}
        return {"tokens": self.tokens.tolist(), "bytes": self.bytes.tolist(), "bits": bits}


def row(tally: Tally) -> dict[str, Any]:
    """One line of the table: sizes, bits per byte by model and baseline, and the model's lead over the bigram.

    ``standard_error`` is that of the lead, a ratio of sums over paired documents (Cochran 1977, section 2.11, with
    documents as if drawn from an endless supply); None for a single document.
    """
    total = int(tally.bytes.sum())
    per_byte = {name: round(float(bits.sum()) / total, 5) for name, bits in tally.bits.items()}
    lead = tally.bits["bigram"] - tally.bits["model"]
    error = None
    if (documents := len(lead)) > 1:
        residuals = lead - lead.sum() / total * tally.bytes
        error = round(math.sqrt(documents / (documents - 1) * float(residuals @ residuals)) / total, 5)
    return {
        "documents": documents,
        "tokens": int(tally.tokens.sum()),
        "bytes": total,
        **per_byte,
        "ahead_of_bigram": round(float(lead.sum()) / total, 5),
        "standard_error": error,
    }
