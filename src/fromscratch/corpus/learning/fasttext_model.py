"""FastText classifiers that somebody else has trained."""

from functools import cache
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import digest_file

__all__ = ["label_probabilities"]

PREFIX = "__label__"
EVERY_LABEL = -1.0  # the least probability; at 0 those are missing that round to it


def label_probabilities(path: Path, sha256: str, label: str, texts: pa.LargeStringArray) -> NDArray[np.float64]:
    """The probability of one label of the model (Joulin et al. 2017, arXiv 1607.01759) for each text.

    Raises FromScratchError for a file that is missing, is none of fastText's, or has another digest or no such label.
    """
    model = _loaded(path, sha256)
    wanted = PREFIX + label.removeprefix(PREFIX)
    found = np.zeros(len(texts))
    # A loop over documents, because the model's batch call gives labels without probabilities.
    for place, line in enumerate(pc.replace_substring_regex(texts, r"\s+", " ").to_pylist()):
        guesses = {name: score for score, name in model.predict(f"{line}\n", -1, EVERY_LABEL, "strict")}
        if wanted not in guesses:
            known = ", ".join(sorted(each.removeprefix(PREFIX) for each in guesses)[:8])
            raise FromScratchError(f"{path} has no label {label!r}", f"it has {known}")
        found[place] = min(guesses[wanted], 1.0)
    return found


@cache
def _loaded(path: Path, sha256: str) -> Any:
    if not path.is_file():
        raise FromScratchError(
            f"{path}: no such file", f"paths are relative to the folder of the command, now {Path.cwd()}"
        )
    if (digest := digest_file(path)) != sha256:
        raise FromScratchError(f"{path} has another digest: {digest}", "if it is the model you mean, write that one")
    try:
        return fasttext.load_model(str(path)).f
    except ValueError as error:
        raise FromScratchError(f"{path}: not a fastText model ({error})", "a .bin or .ftz file is needed") from None
