"""Lines that say nothing of their own are cut: menus, buttons, notices, counters; what is left stays as it is."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fromscratch.corpus.filters.filter import Batch, Filter, Verdict, no_reasons

if TYPE_CHECKING:
    from fromscratch.corpus.kernels.phrases import PhraseSet

__all__ = ["Correction"]

BOILERPLATE = Path(__file__).parent.parent / "lists" / "boilerplate.json"
STRENGTHS = ("together", "alone", "within")  # as kernels_correction numbers them


class Correction(Filter):
    """Rules on the lines of prose; code is left alone.

    A line goes that has nothing beside boilerplate phrases ("Read more", "上一页 下一页", "Page 3 of 10"), or hardly
    anything beside a strong one ("版权所有", "enable JavaScript"), or that belongs to a menu: two or more words such as
    Home and Print on one line, or one on each of three lines in a row. C4 (Raffel et al. 2019, arXiv 1910.10683,
    section 2.2) cuts every line with "javascript" or a policy's name instead, and so sentences about these. A separator
    right below its like goes, and so do zero-width characters, soft hyphens, and blank lines but one.
    """

    columns: ClassVar[Mapping[str, str]] = {"cut_lines": "float32"}

    phrases: tuple[str, ...] = ()
    """More phrases of which a line may not consist alone; # stands for a number."""

    longest_line_bytes: int = Field(default=240, ge=0)
    """Lines with more bytes of UTF-8 are prose, whatever phrase they have: 240 letters, or 80 Han characters. Ours."""

    most_other_bytes: int = Field(default=48, ge=0)
    """Letters, in bytes, that a line may have beside a strong phrase and yet go: a name, a number, a place. Ours."""

    least_sentence_words: int = Field(default=0, ge=0)
    """With a number above 0, C4's line rules hold as well: only lines stay that end like a sentence and have so many
    words, each Han character being one. C4: 3. Off, because headings, lists, verse and dialogue are no sentences."""

    def judge(self, batch: Batch) -> Verdict:
        """The corrected texts; `boilerplate` where nothing is left of one."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from fromscratch.corpus.kernels.characters import character_tables
        from fromscratch.corpus.kernels.correction import correct, folding_table
        from fromscratch.corpus.kernels.text_buffers import text_buffers

        phrases, strengths = _compiled(self.phrases)
        data, offsets, cut = correct(
            *text_buffers(batch.texts),
            (batch.kinds == "code").astype(np.bool_),
            character_tables().classes,
            folding_table(),
            phrases.table,
            strengths,
            self.longest_line_bytes,
            self.most_other_bytes,
            self.least_sentence_words,
        )
        texts = pa.LargeStringArray.from_buffers(len(batch), pa.py_buffer(offsets), pa.py_buffer(data))
        reasons, evidence = no_reasons(batch), no_reasons(batch)
        for place in np.flatnonzero(np.asarray(pc.equal(pc.binary_length(texts), 0))):
            reasons[place], evidence[place] = "boilerplate", f"all of its {cut[place]} lines with words were cut"
        return Verdict(reasons, evidence, {"cut_lines": cut.astype(np.float32)}, texts)


@lru_cache(maxsize=4)
def _compiled(more: tuple[str, ...]) -> "tuple[PhraseSet, NDArray[np.int8]]":
    """The phrases, once in a process, and how strong each is; one that is listed twice counts as the strongest."""
    from fromscratch.corpus.kernels.phrases import compile_phrases

    listed = json.loads(BOILERPLATE.read_text(encoding="utf-8"))
    strengths = {phrase: number for number, name in enumerate(STRENGTHS) for phrase in listed[name]}
    strengths = {**dict.fromkeys(more, STRENGTHS.index("alone")), **strengths}
    return compile_phrases(list(strengths)), np.array(list(strengths.values()), np.int8)
