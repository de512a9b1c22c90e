"""Texts that filters read before the shards are made, such as benchmarks or chosen good pages; none is trained on."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.extraction.extract import extract_text
from fromscratch.corpus.filters.filter import ReadExamples
from fromscratch.corpus.readers.pages import read_pages
from fromscratch.corpus.readers.plan import plan_reads
from fromscratch.corpus.settings import CorpusSettings
from fromscratch.corpus.sources import Package

__all__ = ["example_reader"]


def example_reader(packages: Mapping[str, Package], corpus: CorpusSettings, fetch_folder: Path | None) -> ReadExamples:
    """A function from the name of one of `corpus.examples` to the address and the text of each of its documents.

    Raises FromScratchError, before anything is read, for what `plan_reads` refuses, and for damaged files.
    """
    tasks = plan_reads(packages, corpus.examples, fetch_folder, "corpus.examples")

    def read(name: str) -> Iterator[tuple[str, str]]:
        for task in (each for each in tasks if each.source == name):
            tables = read_pages(task)
            for table in tables:
                pages = extract_text(table, corpus.extraction)
                for url, text in zip(pages["url"].to_pylist(), pages["text"].to_pylist(), strict=True):
                    if text:
                        yield url, text
            for lost in tables.unreadable:  # a benchmark that is read in part would let the rest of it through
                raise FromScratchError(
                    f"`corpus.examples.{name}`: {lost['place']}: {lost['why']}",
                    "get the file again, or leave it out with `exclude`",
                )

    return read
