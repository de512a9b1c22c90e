"""Which format a file is in, by its name where the recipe leaves it to that."""

from pathlib import PurePosixPath

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.sources import (
    AutoFormat,
    CodeFormat,
    Format,
    HtmlFormat,
    JsonLinesFormat,
    ParquetFormat,
    TextFormat,
    WarcFormat,
)

__all__ = ["COMPRESSIONS", "format_of", "is_cut_anywhere"]

COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")

CODE = (
    "bash c cc clj cpp cs css cu cuh dart ex exs f90 go h hpp hs java jl js jsx kt lua m ml mm php pl proto ps1 py pyi "
    "r rb rs scala scss sh sql swift ts tsx vue zig"
)
BY_EXTENSION: dict[str, Format] = {
    **dict.fromkeys((".html", ".htm", ".xhtml"), HtmlFormat()),
    **dict.fromkeys((".txt", ".text", ".md", ".markdown", ".rst"), TextFormat()),
    **dict.fromkeys((".jsonl", ".ndjson"), JsonLinesFormat()),
    ".parquet": ParquetFormat(),
    ".warc": WarcFormat(),
    ".wet": WarcFormat(),
    **{f".{each}": CodeFormat() for each in CODE.split()},
}
HINTS = {
    ".csv": 'name its columns: format = {kind = "csv", text = ["…"]}',
    ".tsv": 'name its columns: format = {kind = "csv", text = ["…"], delimiter = "\\t"}',
    ".json": 'say what it holds: format = {kind = "json_records"} or {kind = "json_values", key = "…"}',
    ".zip": "name an archive itself as the source's path",
    ".tar": "name an archive itself as the source's path",
}


def format_of(name: str, asked: Format, place: str) -> Format:
    """The format to read a file with. Raises FromScratchError when it is left to the name, which does not tell.

    ``place`` is the source's in the recipe, such as `corpus.sources.books`, for the message.
    """
    if not isinstance(asked, AutoFormat):
        return asked
    plain = name.lower()
    for ending in COMPRESSIONS:
        plain = plain.removesuffix(ending)
    extension = PurePosixPath(plain).suffix
    if extension not in BY_EXTENSION:
        unwanted = f"**/*{extension}" if extension else name
        raise FromScratchError(
            f"`{place}.format`: the extension {extension!r} of {name!r} tells no format",
            HINTS.get(extension, f'set format = {{kind = "text"}} or another kind, or exclude = ["{unwanted}"]'),
        )
    return BY_EXTENSION[extension]


def is_cut_anywhere(name: str, style: Format) -> bool:
    """Whether a reader finds the first record behind any byte of such a file, so that several may share the file."""
    match style:
        case WarcFormat():
            return True
        case JsonLinesFormat() | ParquetFormat():
            return style.join_characters == 0 and not name.endswith(COMPRESSIONS)
        case _:
            return False
