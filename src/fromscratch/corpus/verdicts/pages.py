"""What `explain`, `sample` and `diff` found, on a terminal."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

__all__ = ["diff_page", "explain_page", "sample_page", "show"]

PIPED_COLUMNS = 120
STYLES = {"dropped": "red", "kept": "green", "passed": "dim", "not reached": "dim", "off": "dim"}

Row = Mapping[str, Any]


def show(page: RenderableType) -> None:
    """Print a page; wide enough for its tables where nobody's terminal sets the width."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED_COLUMNS)
    console.print(page)


def explain_page(found: Row) -> RenderableType:
    """One document: origin, verdict, steps, the bounds of the quality rules, what it repeats, its text."""
    size = f"{found['raw_bytes']:,} bytes read, {found['bytes']:,} of text"
    facts = [
        ("id", found["id"]),
        ("title", found["title"]),
        ("address", found["url"]),
        ("source", f"{found['source']}, {found['domain']}, {found['license']}"),
        ("language", found["language"]),
        ("size", size),
        ("verdict", _verdict(found)),
        ("evidence", found["evidence"]),
    ]
    parts: list[RenderableType] = [_facts(facts), Text(), _steps(found["steps"])]
    for step in found["steps"]:
        if len(step["measured"]) > 4:
            heading = f"{step['step']}, by the bounds for {found['language']}/{found['domain']}"
            parts += [Text(), Text(heading, "bold"), _bounds(step)]
    if found["duplicate"]:
        partner = found["duplicate"]
        lines = [
            ("id", partner["id"]),
            ("title", partner["title"]),
            ("address", partner["url"]),
            ("source", f"{partner['source']}, {partner['domain']}, {partner['license']}"),
            ("similarity", _share(partner["similarity"])),
            ("containment", _share(partner["containment"])),
        ]
        parts += [Text(), Text("repeats", "bold"), _facts(lines), _quoted(partner["text"])]
    if found["repeated_by"]["documents"]:
        parts += [Text(), Text(f"repeated by {_documents(found['repeated_by'])}", "bold"), _repeaters(found)]
    return Group(*parts, Text(), Text("its text begins", "bold"), _quoted(found["text"]))


def sample_page(found: Sequence[Row]) -> RenderableType:
    """Documents one below the other, with their verdicts."""
    parts: list[RenderableType] = []
    for each in found:
        head = Text.assemble(
            (each["id"], "bold"), "  ", (_verdict(each), STYLES["kept" if each["keep"] else "dropped"])
        )
        about = ", ".join(filter(None, (each["source"], each["language"], _clean(each["title"] or each["url"] or ""))))
        parts += [head, _indented(about, "dim")]
        if each["evidence"]:
            parts.append(_indented(each["evidence"]))
        if each["duplicate_of"]:
            parts.append(_indented(f"repeats {each['duplicate_of']}, similarity {_share(each['similarity'])}"))
        parts += [_quoted(each["text"]), Text()]
    return Group(*parts)


def diff_page(found: Row) -> RenderableType:
    """What differs between two runs: settings, sums, each change with examples."""
    kept_a, kept_b = found["kept"]
    parts: list[RenderableType] = [
        Text("settings that differ", "bold"),
        *(_indented(each) for each in found["settings"] or ["none"]),
        Text(),
        Text(f"kept: {_size(kept_a)} → {_size(kept_b)}; the same verdict on {found['same']:,} documents", "bold"),
        _changes(found["changes"], found["sums"]),
    ]
    for each in found["changes"]:
        parts += [Text(), Text(f"{each['from']} → {each['to']}: {_size(each)}", "bold")]
        for example in each["examples"]:
            parts += _example(example)
    for name, run in zip(("only_a", "only_b"), found["runs"], strict=True):
        if found[name]["documents"]:
            line = f"only in {run}: {_size(found[name])}, of which {_size(found[name]['kept'])} are kept"
            parts += [Text(), Text(line, "bold")]
            for example in found[name]["examples"]:
                parts += _example(example)
    return Group(*parts)


def _facts(pairs: Sequence[tuple[str, str | None]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in pairs:
        if value:
            table.add_row(Text(name, "dim"), Text(_clean(str(value)), overflow="fold"))
    return table


def _steps(steps: Sequence[Row]) -> Table:
    table = _table("step", "outcome", "measured")
    for step in steps:
        measured = step["measured"]
        failed = [each for each in measured if each["passed"] is False]
        shown = "; ".join(map(_measured, measured if len(measured) <= 4 else failed[:1]))
        if len(measured) > 4:
            shown = f"{len(measured)} bounds, {len(failed) or 'none'} failed" + (f", first: {shown}" if failed else "")
        style = STYLES[step["outcome"]]
        table.add_row(Text(step["step"], style), Text(step["outcome"], style), Text(shown, style))
    return table


def _bounds(step: Row) -> Table:
    table = _table("metric", ("value", "right"), ("bound", "right"), "verdict", "reason")
    verdicts = iter(("FAIL, dropped here",) if step["outcome"] == "dropped" else ())
    for each in step["measured"]:
        # What fails in a step that was passed was within its bound before later steps changed the text.
        verdict = "pass" if each["passed"] else next(verdicts, "fail" if step["outcome"] == "dropped" else "since then")
        style = "dim" if each["passed"] else "red"
        cells = (each["name"], _number(each["value"]), f"{each['side']} {_number(each['bound'])}", verdict)
        table.add_row(*(Text(cell, style) for cell in cells), Text("" if each["passed"] else each["reason"], style))
    return table


def _repeaters(found: Row) -> Table:
    table = _table("id", "reason", ("similarity", "right"), "source", "title")
    for each in found["repeated_by"]["examples"]:
        title = _clean(each["title"] or each["url"] or "")
        table.add_row(
            each["id"], each["reason"], _share(each["similarity"]), each["source"], Text(title, overflow="ellipsis")
        )
    return table


def _changes(changes: Sequence[Row], sums: Mapping[str, Row]) -> Table:
    table = _table("from", "to", ("documents", "right"), ("bytes", "right"), "by language")
    for each in changes:
        languages = ", ".join(f"{language} {size['documents']:,}" for language, size in each["by_language"].items())
        style = "red" if each["from"] == "kept" else "green" if each["to"] == "kept" else ""
        cells = (each["from"], each["to"], f"{each['documents']:,}", _bytes(each["bytes"]), languages)
        table.add_row(*(Text(cell, style) for cell in cells))
    for name, size in sums.items():
        if size["documents"]:
            table.add_row(Text("all", "bold"), Text(name, "bold"), f"{size['documents']:,}", _bytes(size["bytes"]), "")
    return table


def _example(each: Row) -> list[RenderableType]:
    about = ", ".join(filter(None, (each.get("reason"), each["language"], _clean(each["title"] or each["url"] or ""))))
    evidence = " → ".join(each["evidence"]) if "evidence" in each else ""
    lines = [Text.assemble("  ", (each["id"], "bold"), "  ", (about, "dim"))]
    return [*lines, *([_indented(evidence)] if evidence else []), _quoted(each["text"])]


def _table(*columns: str | tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        name, justify = (column, "left") if isinstance(column, str) else column
        table.add_column(name, justify="right" if justify == "right" else "left")
    return table


def _verdict(found: Row) -> str:
    if found["keep"]:
        return f"kept, {found['split']}" if found.get("split") else "kept"
    return f"dropped by {found['step']}: {found['reason']}"


def _measured(each: Row) -> str:
    bound = "" if each["bound"] is None else f" ({each['side']} {_number(each['bound'])})"
    return f"{each['name']} {_number(each['value'])}{bound}"


def _number(value: Any) -> str:
    if isinstance(value, str):
        return _clean(value)
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _documents(size: Row) -> str:
    return f"{size['documents']:,} document{'s' * (size['documents'] != 1)}"


def _size(size: Row) -> str:
    return f"{_documents(size)}, {_bytes(size['bytes'])}"


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB" if size >= 1e3 else f"{size} B"


def _quoted(text: str) -> Padding:
    return Padding(Text(_clean(text), "italic", overflow="fold"), (0, 0, 0, 2), expand=False)


def _indented(line: str, style: str = "") -> Padding:
    return Padding(Text(_clean(line), style, overflow="fold"), (0, 0, 0, 2), expand=False)


def _clean(text: str) -> str:
    """Without control characters, by which a page of the web could steer the terminal."""
    return "".join(each if each in "\n\t" or unicodedata.category(each) != "Cc" else "�" for each in text)
