"""The funnel: how many documents and bytes each step of the corpus kept and dropped, and for what reasons."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.cascade import STEPS

__all__ = ["CUT", "MARKUP", "Counts", "add_counts", "count_documents", "funnel_of", "refuse_empty_corpus"]

EXTRACT = STEPS.index("extract")
MARKUP = "markup"  # bytes, without documents, that extraction left behind in pages that it kept
CUT = "cut"  # the same of a later step that changed texts
COUNTED_HOSTS, NAMED_HOSTS = 20_000, 50
HOST = r"^[a-z]+://(?:[^/@]*@)?(?P<host>[^/:?#]+)"
PARTNER_SCORES = ("similarity", "containment")  # are of dropped documents

Counts = Counter[tuple[str, ...]]
NOTHING = {"documents": 0, "bytes": 0}


def count_documents(documents: pa.Table, step_bytes: NDArray[np.int64]) -> Counts:
    """What some documents add to the funnel; from `DOCUMENTS`, and their bytes [documents, steps] after each step."""
    counts: Counts = Counter()
    dropped_at = _dropped_at(documents["step"])
    languages, of_language = np.unique(_strings(documents["language"], "und"), return_inverse=True)
    reasons = _strings(documents["reason"], "")
    for number, step in enumerate(STEPS):
        before, after = step_bytes[:, max(0, number - 1)], step_bytes[:, number]
        kept, lost = dropped_at > number, dropped_at == number
        _tally(counts, ("step", step, "entered"), before[dropped_at >= number])
        for code in np.unique(of_language[kept]).tolist():
            _tally(counts, ("step", step, "kept", str(languages[code])), after[kept & (of_language == code)])
        for reason in np.unique(reasons[lost]).tolist():
            _tally(counts, ("step", step, "dropped", reason), before[lost & (reasons == reason)])
        counts["step", step, "changed", "bytes"] += int((before - after)[kept].sum())
    sources, licenses = _strings(documents["source"], ""), _strings(documents["license"], "")
    stays = dropped_at == len(STEPS)
    for source in np.unique(sources).tolist():
        here = sources == source
        _tally(counts, ("source", source, "read"), step_bytes[here, 0])
        _tally(counts, ("source", source, "kept"), step_bytes[here & stays, -1])
        for license_ in np.unique(licenses[here]).tolist():
            counts["license", source, license_] = 1
    _count_kept(counts, documents.filter(pa.array(stays)))
    return counts


def _count_kept(counts: Counts, documents: pa.Table) -> None:
    """Groups and hosts of kept documents: what a mixture is made from."""
    groups, sizes = _strings(documents["language"], "und"), documents["bytes"].to_numpy()
    groups = np.char.add(np.char.add(groups, "/"), _strings(documents["domain"], ""))
    characters = pc.utf8_length(documents["text"]).to_numpy()
    scores = [each.name for each in documents.schema if pa.types.is_floating(each.type)]
    for group in np.unique(groups).tolist():
        here = groups == group
        _tally(counts, ("group", group), sizes[here])
        counts["group", group, "characters"] += int(characters[here].sum())
        for name in (each for each in scores if each not in PARTNER_SCORES):
            values = documents[name].to_numpy()[here].astype(np.float64)
            counts["score", group, name, "millionths"] += round(1e6 * float(np.nansum(values)))
            counts["score", group, name, "documents"] += int((~np.isnan(values)).sum())
    hosts = _strings(pc.struct_field(pc.extract_regex(documents["url"], HOST), "host"), "")
    for host in np.unique(hosts[hosts != ""]).tolist():
        _tally(counts, ("host", host), sizes[hosts == host])


def add_counts(total: Counts, more: Counts) -> None:
    """Add up. Of hosts only the larger are remembered, so small ones of a large crawl may be counted too low."""
    total.update(more)
    for license_ in [key for key in more if key[0] == "license"]:
        total[license_] = 1
    hosts = sorted((-size, key[1]) for key, size in total.items() if key[0] == "host" and key[2] == "bytes")
    for _, host in hosts[COUNTED_HOSTS:]:
        del total["host", host, "bytes"], total["host", host, "documents"]


def funnel_of(counts: Counts, unreadable: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The content of funnel.json: steps, sources, groups, hosts and what could not be read.

    Bytes are raw ones until a page's text is extracted, and those of its text from then on. Scores are means over the
    kept documents of a group that have the score; hosts are those that give most text.
    """
    tree: dict[str, Any] = {}
    for key, value in counts.items():
        branch = tree
        for name in key[:-1]:
            branch = branch.setdefault(name, {})
        branch[key[-1]] = value
    hosts = [{"host": host, **size} for host, size in tree.get("host", {}).items()]
    return {
        "steps": [_step(step, tree.get("step", {}).get(step, {})) for step in STEPS],
        "sources": {
            name: {
                **each["read"],
                "kept_documents": each["kept"]["documents"],
                "kept_bytes": each["kept"]["bytes"],
                "license": " AND ".join(sorted(tree["license"][name])),
            }
            for name, each in sorted(tree.get("source", {}).items())
        },
        "groups": {
            name: {
                **each,
                "scores": {
                    score: round(of["millionths"] / of["documents"] / 1e6, 6)
                    for score, of in sorted(tree["score"][name].items())
                    if of["documents"]
                },
            }
            for name, each in sorted(tree.get("group", {}).items())
        },
        "hosts": sorted(hosts, key=lambda each: (-each["bytes"], each["host"]))[:NAMED_HOSTS],
        "unreadable": [dict(each) for each in unreadable],
    }


def _step(name: str, counts: Mapping[str, Any]) -> dict[str, Any]:
    dropped = dict(sorted(counts.get("dropped", {}).items()))
    changed = counts.get("changed", {}).get("bytes", 0)
    if changed or name == STEPS[EXTRACT]:
        dropped[MARKUP if name == STEPS[EXTRACT] else CUT] = {"documents": 0, "bytes": changed}
    by_language = dict(sorted(counts.get("kept", {}).items()))
    return {
        "step": name,
        "entered": counts.get("entered", NOTHING),
        "kept": {unit: sum(each[unit] for each in by_language.values()) for unit in NOTHING},
        "dropped": dropped,
        "kept_by_language": by_language,
    }


def refuse_empty_corpus(funnel: Mapping[str, Any]) -> None:
    """Raise FromScratchError if no document is left, with the largest reasons in the hint, or a source gave none."""
    for each in funnel["unreadable"]:
        if funnel["sources"] and each["source"] not in funnel["sources"]:
            raise FromScratchError(
                f"nothing of the source `corpus.sources.{each['source']}` could be read",
                f"the first place: {each['place']} ({each['why']})",
            )
    if funnel["steps"][-1]["kept"]["documents"]:
        return
    read = funnel["steps"][0]["kept"]["documents"]
    if not read:
        unreadable = [f"{each['place']} ({each['why']})" for each in funnel["unreadable"]]
        raise FromScratchError(
            "no documents: the sources of `corpus.sources` gave none",
            f"unreadable: {'; '.join(unreadable[:3])}" if unreadable else "check their paths and globs",
        )
    losses = [
        (lost["documents"], reason, step["step"])
        for step in funnel["steps"]
        for reason, lost in step["dropped"].items()
    ]
    largest = ", ".join(f"{reason} {count:,} ({step})" for count, reason, step in sorted(losses, reverse=True)[:3])
    raise FromScratchError(
        f"nothing left after filtering: all {read:,} documents were dropped",
        f"the largest reasons: {largest}; `corpus.filters` decides what stays",
    )


def _dropped_at(steps: pa.ChunkedArray) -> NDArray[np.int64]:
    """The number of the step that dropped each document; one more than there are for kept ones."""
    found: NDArray[np.int64] = pc.fill_null(pc.index_in(steps, pa.array(STEPS)), len(STEPS)).to_numpy()
    return found


def _strings(column: pa.ChunkedArray, absent: str) -> NDArray[np.str_]:
    return np.asarray(pc.fill_null(column, absent), dtype=object).astype(str)


def _tally(counts: Counts, key: tuple[str, ...], sizes: NDArray[np.int64]) -> None:
    counts[*key, "documents"] += len(sizes)
    counts[*key, "bytes"] += int(sizes.sum())
