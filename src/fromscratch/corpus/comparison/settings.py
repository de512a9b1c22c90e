"""Settings of what needs other documents: repeated paragraphs, exact and near duplicates, the held-out share."""

from pydantic import Field

from fromscratch.core.settings import Settings

__all__ = ["DuplicateSettings", "HeldoutSettings", "ParagraphSettings"]


class ParagraphSettings(Settings):
    """Paragraphs that many documents share: menus, notices, templates. A paragraph is a line; code is left whole.

    Each occurrence after the first few documents is cut (CCNet, Wenzek et al. 2019, 1911.00359, section 3.1, cuts every
    repetition). Verdicts depend on earlier documents alone, so that a second crawl is judged as if it had come with
    the first.
    """

    most_documents: int | None = Field(default=5, gt=0)
    """A paragraph is cut from the documents after the first so many that hold it; absent, nothing is cut. Ours."""

    least_bytes: int = Field(default=60, gt=0)
    """UTF-8 bytes of a line from which it counts: ten English words, or twenty Han characters. Ours; shorter ones are
    headings, answers, and verse that documents may well share."""

    most_cut_share: float = Field(default=0.8, ge=0, le=1)
    """A document that would lose a larger share of its bytes is dropped whole. Ours."""

    least_left_bytes: int = Field(default=100, ge=0)
    """A document that would be left with fewer bytes after a cut is dropped whole. Ours."""


class DuplicateSettings(Settings):
    """Exact and near duplicates: of each set, the document that comes first stays.

    Documents whose shingle sets have Jaccard similarity s become candidates with probability
    1 - (1 - s^rows)^bands (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4): at the defaults
    0.998 for s = 0.8. Every candidate pair is verified by its exact similarity.
    """

    threshold: float = Field(default=0.8, gt=0, le=1)
    """Jaccard similarity of the shingle sets from which a document repeats an earlier one."""

    containment: float | None = Field(default=0.8, gt=0, le=1)
    """Share of a document's shingles within a longer candidate that came earlier, from which the document is dropped as
    `contained` (Broder 1997); a longer one that came later stays, for it brings something. Absent, nothing is."""

    shingle_units: int = Field(default=5, ge=1, le=32)
    """Words, or Han characters, in a shingle."""

    bands: int = Field(default=20, ge=1, le=256)
    """Bands of MinHash values; documents that agree in all rows of one band are compared."""

    rows: int = Field(default=6, ge=1, le=32)
    """MinHash values in a band."""

    bucket_documents: int = Field(default=64, ge=1)
    """Kept documents that are remembered for one band key, the first ones: so a template that a million pages share
    costs each of them as many comparisons as it costs the hundredth. Ours."""


class HeldoutSettings(Settings):
    """What is kept from training, so that models can be measured on it: whole documents, a share of each group."""

    share: float = Field(default=0.01, ge=0, le=0.5)
    """Share of the documents of each group `<language>/<domain>`."""

    least_documents: int = Field(default=5, ge=0)
    """At least so many of each group, though never more than a tenth of it."""

    most_documents: int = Field(default=500, ge=0)
    """At most so many of each group."""
