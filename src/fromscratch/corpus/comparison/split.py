"""The held-out split: whole documents, a share of each group of language and domain."""

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.comparison.settings import HeldoutSettings

__all__ = ["HeldoutChoice"]

LARGEST_SHARE = 0.1  # of a group, however many documents are asked for at least


class HeldoutChoice:
    """Which of the kept documents are held out, decided once all of them were added.

    Of each group those with the smallest ids, which are hashes of the content: the choice needs no seed, does not
    depend on the order, and mostly stays when documents are added. It remembers a group's count and ``most_documents``
    ids. Duplicates are to be dropped before, so that none of a held-out document is left to train on.
    """

    def __init__(self, settings: HeldoutSettings) -> None:
        self._settings = settings
        self._counts: dict[str, int] = {}
        self._smallest: dict[str, NDArray[np.str_]] = {}

    def add(self, ids: NDArray[np.object_], groups: NDArray[np.object_]) -> None:
        """Add kept documents: their ids, and each one's group."""
        names, numbers = np.unique(groups.astype(str), return_inverse=True)
        for number, name in enumerate(names.tolist()):
            new = ids[numbers == number].astype(str)
            self._counts[name] = self._counts.get(name, 0) + len(new)
            smallest = np.sort(np.concatenate([self._smallest.get(name, new[:0]), new]))
            self._smallest[name] = smallest[: self._settings.most_documents]

    def chosen(self) -> dict[str, list[str]]:
        """The ids that are held out, ascending, by group."""
        settings, chosen = self._settings, {}
        for name, count in sorted(self._counts.items()):
            wished = min(max(round(settings.share * count), settings.least_documents), settings.most_documents)
            most = int(max(settings.share, LARGEST_SHARE) * count) if settings.share else 0
            chosen[name] = self._smallest[name][: min(wished, most)].tolist()
        return chosen
