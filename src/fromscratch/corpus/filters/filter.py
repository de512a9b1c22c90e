"""What a filter is: settings that judge a batch of documents and give their reasons."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from fromscratch.core.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Batch", "Filter", "ReadExamples", "Verdict", "no_reasons"]

Objects = NDArray[np.object_]
ReadExamples = Callable[[str], Iterator[tuple[str, str]]]
"""From the name of one of `corpus.examples` to the address and the text of each of its documents."""


@dataclass
class Batch:
    """Documents that no filter has dropped so far; every column has one entry for each."""

    ids: Objects
    sources: Objects
    domains: Objects
    urls: Objects
    kinds: Objects
    """How the page was read: `html`, `text` or `code`."""
    hints: Objects
    """The language that the source names, or None."""
    languages: Objects
    """ISO 639 codes, `code` or `und`; None before the filter `language`."""
    texts: "pa.LargeStringArray"
    models: Path
    """The folder of what `Filter.prepare` has made."""
    measure: Callable[["pa.LargeStringArray"], NDArray[np.float32]]
    measured: NDArray[np.float32] | None = None
    taken: "tuple[Batch, NDArray[np.int64]] | None" = None
    """The batch that these documents were taken from, and their places in it."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def metrics(self) -> NDArray[np.float32]:
        """Metrics float32[documents, metrics] of the texts, listed in `kernels/metrics.py`, when asked for."""
        if self.measured is None:
            origin, places = self.taken or (None, None)
            self.measured = self.measure(self.texts) if origin is None else origin.metrics[places]
        return self.measured

    def take(self, places: NDArray[np.int64]) -> "Batch":
        """The documents at these places."""
        names = ("ids", "sources", "domains", "urls", "kinds", "hints", "languages")
        chosen = {name: getattr(self, name)[places] for name in names}
        return replace(self, **chosen, texts=self.texts.take(places), measured=None, taken=(self, places))


@dataclass(frozen=True)
class Verdict:
    """A filter's judgement on each document of a batch."""

    reasons: Objects
    """Why a document is dropped, in snake case, or None for one that stays."""
    evidence: Objects | None = None
    """What was measured or found, in words, of those that are dropped; None elsewhere."""
    columns: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    """Values of the filter's own columns, for all documents."""
    texts: "pa.LargeStringArray | None" = None
    """The texts, where the filter has changed some."""


class Filter(Settings, ABC):
    """One step of the cascade.

    A filter is a value: what it may be told are its fields. `judge` must depend on these and on each document alone, so
    that documents are judged alike in any batch, on any machine. The file of a filter stays light at import (numpy and
    pydantic), because recipes are read where no corpus is made; compiled machinery is imported within `judge`.
    """

    columns: ClassVar[Mapping[str, str]] = {}
    """Columns that the filter adds to the documents: `string`, with None, or `float32`, with NaN for what is absent."""

    @abstractmethod
    def judge(self, batch: Batch) -> Verdict:
        """Reasons, evidence, scores, and perhaps new texts, of the documents of a batch."""

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        """For each setting that names some of `corpus.examples`, the names."""
        return {}

    def prepare(self, folder: Path, read: ReadExamples) -> None:
        """Make what judging needs in the existing ``folder``, once for the whole corpus; `Batch.models` is that folder.

        What a killed attempt has left there may be taken if it is whole: write with `core.files.atomic_write`.
        """
        del folder, read


def no_reasons(batch: Batch) -> Objects:
    """A column of None, to be filled with reasons or with evidence."""
    return np.full(len(batch), None, dtype=object)
