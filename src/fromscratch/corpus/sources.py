"""Where raw pages come from: pinned packages and local files, and how each format is read."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fromscratch.core.settings import Settings, did_you_mean, refuse

__all__ = [
    "AutoFormat",
    "CodeFormat",
    "CsvFormat",
    "DocstringsFormat",
    "FilesSource",
    "Format",
    "HtmlFormat",
    "JsonLinesFormat",
    "JsonRecordsFormat",
    "JsonValuesFormat",
    "Package",
    "PackageSource",
    "ParquetFormat",
    "Source",
    "TextFormat",
    "WarcFormat",
    "refuse_unknown_packages",
]

PIN = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([A-Za-z0-9][A-Za-z0-9._+!-]*)")

Strings = tuple[Annotated[str, Field(min_length=1)], ...]
Kind = Literal["html", "text", "code"]


class Package(Settings):
    """One file of a package index, pinned. It is read as an archive; nothing of it is installed, imported or run."""

    requirement: str
    """Name and exact version, for example `botocore==1.44.5`."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Digest of the file, as `pip hash` prints it. A file with another digest is refused."""

    form: Literal["wheel", "sdist"] = "wheel"
    """Which of the version's files: the built one or the source archive."""

    license: str = Field(min_length=1)
    """SPDX expression for what is read from it, which may differ from the licence of the package's own programs."""

    notice: str = ""
    """Attribution that the licence asks for; it goes into the NOTICE of a release."""

    url: str = ""
    """Home page of the project."""

    @model_validator(mode="after")
    def _pin_the_version(self) -> Self:
        if not PIN.fullmatch(self.requirement):
            refuse(f"`@requirement` = {self.requirement!r} does not pin one version", "write it as name==1.2.3")
        return self

    @property
    def name(self) -> str:
        return self.requirement.partition("==")[0]

    @property
    def version(self) -> str:
        return self.requirement.partition("==")[2]


class AutoFormat(Settings):
    """Each file by its extension: HTML, text, code, JSON lines, Parquet, or WARC, also with .gz, .zst, .bz2 or .xz."""

    kind: Literal["auto"] = "auto"


class HtmlFormat(Settings):
    """A file is a page; its main content becomes the text."""

    kind: Literal["html"] = "html"


class TextFormat(Settings):
    """A file is a plain text."""

    kind: Literal["text"] = "text"

    strip: Literal["nothing", "gutenberg"] = "nothing"
    """`gutenberg` cuts the header and footer that Project Gutenberg puts around a book."""


class CodeFormat(Settings):
    """A file is a program."""

    kind: Literal["code"] = "code"


class RecordFormat(Settings):
    """What all formats share whose files hold many records."""

    content: Kind = "text"
    """What a record holds."""

    least_characters: int = Field(default=1, ge=1)
    """Records with fewer characters are not read at all; they appear in no count."""

    join_characters: int = Field(default=0, ge=0)
    """Consecutive records of one file are put together until they have this many characters; 0 keeps each apart."""


class JsonLinesFormat(RecordFormat):
    """A line is a record: a JSON object."""

    kind: Literal["jsonl"] = "jsonl"

    text: str = "text"
    """Key of the text."""

    title: str = "title"
    """Key of the title; records may lack it."""

    url: str = "url"
    """Key of the address; records may lack it."""


class ParquetFormat(RecordFormat):
    """A row is a record."""

    kind: Literal["parquet"] = "parquet"

    text: str = "text"
    """Column of the text."""

    title: str = "title"
    """Column of the title; the file may lack it."""

    url: str = "url"
    """Column of the address; the file may lack it."""


class WarcFormat(Settings):
    """A crawl in web-archive files: each HTML response becomes a page; broken records are counted and skipped."""

    kind: Literal["warc"] = "warc"


class CsvFormat(RecordFormat):
    """A row is a record; the first line names the columns."""

    kind: Literal["csv"] = "csv"

    text: Strings = Field(min_length=1)
    """Columns whose cells make the text, one below the other, in this order."""

    title: str | None = None
    """Column of the title."""

    absent: Strings = ()
    """Cells that stand for no value, such as "n/a" or "无"."""

    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """The character between two cells."""


class JsonRecordsFormat(RecordFormat):
    """One JSON array or object whose items are the records: strings, or objects with a text."""

    kind: Literal["json_records"] = "json_records"

    text: str | None = None
    """Key of the text within a record; absent when the records are strings."""

    title: str | None = None
    """Key of the title within a record; absent takes the record's own key when the file is an object."""


class JsonValuesFormat(RecordFormat):
    """Every string that stands under one key, however deep in a JSON file."""

    kind: Literal["json_values"] = "json_values"

    key: str
    """The key, for example `documentation`."""


class DocstringsFormat(Settings):
    """The docstrings of a Python file: one document for the module, and one for each class and function outside one.

    The file is parsed, never run.
    """

    kind: Literal["docstrings"] = "docstrings"

    least_characters: int = Field(default=1, ge=1)
    """Documents with fewer characters are not read at all; they appear in no count."""


Format = Annotated[
    AutoFormat
    | HtmlFormat
    | TextFormat
    | CodeFormat
    | JsonLinesFormat
    | ParquetFormat
    | WarcFormat
    | CsvFormat
    | JsonRecordsFormat
    | JsonValuesFormat
    | DocstringsFormat,
    Field(discriminator="kind"),
]


class SourceSettings(Settings):
    """What all sources share."""

    domain: str = Field(pattern="^[a-z][a-z0-9_]*$")
    """What it is about, for example `technical` or `books`. Mixtures weigh groups `<language>/<domain>`."""

    format: Format = AutoFormat()
    """How the files are read."""

    language: str | None = Field(default=None, pattern="^[a-z]{2,3}$")
    """The language that it is known to be in (ISO 639); absent when it is to be found out."""

    exclude: Strings = ()
    """Patterns of files to leave out."""

    largest_megabytes: float = Field(default=64, gt=0)
    """What one file that is read whole, or one record of a file that is streamed, may unpack to (10^6 bytes).
    Larger ones are left out and listed as unreadable."""


class PackageSource(SourceSettings):
    """Files within a pinned package."""

    kind: Literal["package"] = "package"

    package: str | Annotated[Strings, Field(min_length=1)]
    """Name of the recipe's `[packages.NAME]`; or several names, where the archives are alike."""

    members: Strings = Field(min_length=1)
    """Patterns of the files within the archive: `*` stays within a folder, `**` spans folders."""

    license: str | None = Field(default=None, min_length=1)
    """SPDX expression, where it is not that of the package."""

    @property
    def package_names(self) -> Strings:
        return (self.package,) if isinstance(self.package, str) else self.package


class FilesSource(SourceSettings):
    """Files of this machine, or behind a URL."""

    kind: Literal["files"] = "files"

    path: str = Field(min_length=1)
    """A folder, an archive (zip or tar), or one file, relative to the folder in which the command is run; or a pattern
    of files, `crawl/*.warc.gz`; or a URL of any of these that fsspec opens, such as `s3://…`, `https://…`, `hdfs://…`."""

    members: Strings = ("**",)
    """Patterns of the files within the folder; hidden files are left out."""

    license: str = Field(min_length=1)
    """SPDX expression of the text."""

    notice: str = ""
    """Attribution that the licence asks for; it goes into the NOTICE of a release."""

    url: str = ""
    """Where the files came from."""


Source = Annotated[PackageSource | FilesSource, Field(discriminator="kind")]


def refuse_unknown_packages(
    packages: Mapping[str, Package],
    sources: Mapping[str, PackageSource | FilesSource],
    table: str = "corpus.sources",
) -> None:
    """For a validator of the recipe: refuse a source, of this table, whose package the recipe does not name."""
    for name, source in sources.items():
        for package in source.package_names if isinstance(source, PackageSource) else ():
            if package not in packages:
                refuse(
                    f"`@{table}.{name}.package` = {package!r} is none of the recipe's packages",
                    did_you_mean(package, list(packages)),
                )
