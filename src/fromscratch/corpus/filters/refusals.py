"""What is refused before a page is parsed: settings, and the lists that they name."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from pydantic import Field

from fromscratch.core.files import atomic_write
from fromscratch.core.settings import Settings
from fromscratch.corpus.filters.filter import ReadExamples

__all__ = ["HOSTS", "URL_WORDS", "Refusals"]

HOSTS, URL_WORDS = "refused-hosts.npy", "refused-url-words.txt"  # below the folder of models


class Refusals(Settings):
    """Pages that are not worth parsing; each keeps its row, without a text, and with the reason."""

    hosts: tuple[str, ...] = ()
    """Names of `corpus.examples`: lists of hosts, one to a line; a host's subdomains are refused with it."""

    url_words: tuple[str, ...] = ()
    """Names of `corpus.examples`: lists of words, one to a line, none of which an address may have as a whole word."""

    least_bytes: int = Field(default=1, ge=0)
    """Pages with fewer bytes are refused."""

    most_html_bytes: int = Field(default=10_000_000, gt=0)
    """Web pages with more bytes are refused: they are dumps of data. Ours."""

    least_foreign_letters: int | None = Field(default=400, ge=1)
    """Letters, outside of markup, from which on a web page in UTF-8 is refused for its language; absent leaves all
    languages to the filter, which looks at the text alone. Ours."""

    least_foreign_share: float = Field(default=0.9, gt=0.5, le=1)
    """Share of the letters in scripts of languages that are not kept, from which on a page is refused. Ours."""

    least_foreign_score: float = Field(default=0.9, ge=0.5, le=1)
    """Probability of a language that is not kept, in each of three samples of a page in Latin letters, from which on
    it is refused. Ours; of 954 crawled pages they refuse 157 of 440 foreign ones and no other."""

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        return {"hosts": self.hosts, "url_words": self.url_words}

    def prepare(self, folder: Path, read: ReadExamples) -> None:
        """Write the hosts as ascending hashes, which take 8 bytes each and are mapped, and the words as text."""
        if not (self.hosts or self.url_words):
            return
        import xxhash

        hosts = {each.lower().removeprefix("www.").strip(".") for each in _lines(self.hosts, read)}
        with atomic_write(folder / HOSTS) as path, path.open("wb") as file:
            np.save(file, np.unique(np.array([xxhash.xxh3_64_intdigest(each.encode()) for each in hosts], np.uint64)))
        with atomic_write(folder / URL_WORDS) as path:
            path.write_text("\n".join(sorted({*_lines(self.url_words, read)})), encoding="utf-8")


def _lines(names: Iterable[str], read: ReadExamples) -> Iterable[str]:
    """The lines of lists, without empty ones and remarks."""
    for line in (line for name in names for _, text in read(name) for line in text.splitlines()):
        if word := line.partition("#")[0].strip():
            yield word
