"""Texts that filters read before the shards are made, such as benchmarks or chosen good pages; none is trained on."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from fromscratch.corpus.extract import extract_text
from fromscratch.corpus.filters.filter import ReadExamples
from fromscratch.corpus.readers.pages import read_pages
from fromscratch.corpus.readers.plan import plan_reads
from fromscratch.corpus.settings import CorpusSettings
from fromscratch.corpus.sources import Package

__all__ = ["example_reader"]


def example_reader(packages: Mapping[str, Package], corpus: CorpusSettings, fetch_folder: Path | None) -> ReadExamples:
    """A function from the name of one of `corpus.examples` to the address and the text of each of its documents.

    Raises FromScratchError, before anything is read, for what `plan_reads` refuses.
    """
    tasks = plan_reads(packages, corpus.examples, fetch_folder, "corpus.examples")

    def read(name: str) -> Iterator[tuple[str, str]]:
        for table in (table for task in tasks if task.source == name for table in read_pages(task)):
            pages = extract_text(table, corpus.extraction)
            for url, text in zip(pages["url"].to_pylist(), pages["text"].to_pylist(), strict=True):
                if text:
                    yield url, text

    return read
