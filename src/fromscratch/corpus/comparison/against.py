"""Earlier corpora that a new one is compared with."""

from collections.abc import Sequence
from pathlib import Path

from fromscratch.core.artifact import Artifact, open_artifact
from fromscratch.core.errors import FromScratchError

__all__ = ["against_digests", "earlier_corpus"]


def against_digests(against: Sequence[str]) -> dict[str, str]:
    """The digest of each earlier corpus, as inputs of the new one. Raises FromScratchError if one is missing."""
    return {f"against.{folder}": earlier_corpus(folder).digest for folder in against}


def earlier_corpus(folder: str) -> Artifact:
    """The finished corpus in a folder. Raises FromScratchError if there is none."""
    artifact = open_artifact(Path(folder))
    if artifact is None:
        raise FromScratchError(
            f"`corpus.against`: there is no finished corpus at {folder!r}",
            f"name the folder with its manifest.json, such as runs/first/corpus; paths start at {Path.cwd()}",
        )
    return artifact
