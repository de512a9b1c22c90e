"""The held-out split: whole documents, a share of each group of language and domain."""

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.settings import HeldoutSettings

__all__ = ["choose_heldout"]

LARGEST_SHARE = 0.1  # of a group, however many documents are asked for at least


def choose_heldout(
    ids: NDArray[np.object_], groups: NDArray[np.object_], settings: HeldoutSettings
) -> NDArray[np.bool_]:
    """Which of the kept documents are held out.

    Of each group those with the smallest ids, which are hashes of the content: the choice needs no seed, does not
    depend on the order, and mostly stays when documents are added. Duplicates are to be dropped before, so that none
    of a held-out document is left to train on.
    """
    heldout = np.zeros(len(ids), bool)
    for group in sorted(set(groups)):
        here = np.flatnonzero(groups == group)
        wished = min(max(round(settings.share * len(here)), settings.least_documents), settings.most_documents)
        count = min(wished, int(max(settings.share, LARGEST_SHARE) * len(here))) if settings.share else 0
        heldout[here[np.argsort(ids[here], kind="stable")[:count]]] = True
    return heldout
