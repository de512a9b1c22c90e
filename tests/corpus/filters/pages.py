"""Batches for the tests of filters: from texts at hand, and from the real pages of the fixtures."""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fromscratch.corpus.filters.filter import Batch, Filter
from fromscratch.corpus.kernels.characters import character_tables
from fromscratch.corpus.kernels.measure import measure
from fromscratch.corpus.kernels.text_buffers import text_buffers

__all__ = ["batch_of", "fixture_pages", "judged", "judged_pages"]

PAGES = Path(__file__).parent.parent.parent / "fixtures" / "pages"
MARKUP = re.compile(r"(?is)<(script|style|title)\b.*?</\1>|<!--.*?-->|<[^>]+>")


def measured(texts: pa.LargeStringArray) -> NDArray[np.float32]:
    tables = character_tables()
    return measure(*text_buffers(texts), tables.classes, tables.lower)


def batch_of(
    texts: Sequence[str],
    languages: Sequence[str] | str = "en",
    kinds: Sequence[str] | str = "text",
    models: Path = PAGES,
    urls: Sequence[str] | None = None,
) -> Batch:
    def column(values: Sequence[Any] | str | None) -> NDArray[np.object_]:
        several = values if isinstance(values, Sequence) and not isinstance(values, str) else [values] * len(texts)
        return np.array(several, object)

    names = [f"{number:016x}" for number in range(len(texts))]
    return Batch(
        ids=column(names),
        sources=column("pages"),
        domains=column("web"),
        urls=column(urls or names),
        kinds=column(kinds),
        hints=column(None),
        languages=column(languages),
        texts=pa.array(texts, pa.large_string()),
        models=models,
        measure=measured,
    )


def judged(each: Filter, batch: Batch) -> list[tuple[str | None, str | None]]:
    """Reason and evidence of each document, once as one batch and once one by one, which must agree."""
    whole = each.judge(batch)
    evidence = whole.evidence if whole.evidence is not None else np.full(len(batch), None, object)
    for place in range(len(batch)):
        alone = each.judge(batch.take(np.array([place])))
        assert alone.reasons[0] == whole.reasons[place]
        assert alone.evidence is None or alone.evidence[0] == evidence[place]
        if alone.texts is not None:
            assert whole.texts is not None and alone.texts[0] == whole.texts[place]
    return list(zip(whole.reasons.tolist(), evidence.tolist(), strict=True))


def fixture_pages(*patterns: str) -> Batch:
    """English and Chinese pages of the fixtures with all that stands between their tags, menus too."""
    chosen = [each for pattern in patterns for each in sorted(PAGES.glob(pattern))]
    texts = []
    for path in chosen:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".html":
            text = re.sub(r"\n\s*\n", "\n\n", html.unescape(MARKUP.sub("", text))).strip()
        texts.append(text)
    names = [each.relative_to(PAGES).as_posix() for each in chosen]
    return batch_of(texts, ["zh" if "zh/" in name or "cmn" in name else "en" for name in names], urls=names)


def judged_pages(each: Filter, models: Path = PAGES) -> dict[str, Any]:
    """For golden files: reason, evidence, numbers, and what was cut, for each English or Chinese page."""
    batch = fixture_pages("html/en/**/*.html", "html/zh/**/*.html", "html/udhr/[ce][mn]*.html", "text/*/*.txt")
    batch.models = models
    verdict = each.judge(batch)
    pages: dict[str, Any] = {}
    for place, url in enumerate(batch.urls):
        row: dict[str, Any] = {name: _plain(column[place]) for name, column in verdict.columns.items()}
        row["verdict"] = verdict.reasons[place] or "keep"
        if verdict.evidence is not None and verdict.evidence[place]:
            row["evidence"] = verdict.evidence[place]
        if verdict.texts is not None:
            before, after = batch.texts[place].as_py().split("\n"), verdict.texts[place].as_py().split("\n")
            row["cut"] = [line for line in before if line not in set(after)]
            row["new"] = [line for line in after if line not in set(before)]
        pages[url] = row
    return pages


def _plain(value: Any) -> Any:
    return None if value != value else value.item() if isinstance(value, np.generic) else value
