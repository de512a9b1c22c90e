"""A comparison on a terminal: the three answers first, then what each rests on."""

import math
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fromscratch.anatomy.among import Ranking
from fromscratch.anatomy.compare import Comparison
from fromscratch.anatomy.pages.wording import (
    answers,
    bound,
    duties_by_licence,
    renames,
    sentence,
    short,
    side_facts,
    told_shares,
    unknown_facts,
    weight_words,
)

__all__ = ["comparison_page", "ranking_page", "show"]

PIPED_COLUMNS = 120
STANDINGS = {"observed": "green", "not observed": "red", "declared": "", "unknown": "dim"}
RENAMES_SHOWN = 12
LAYERS_ON_A_LINE = 24


def show(page: RenderableType) -> None:
    """Print a page; wide enough for its tables where nobody's terminal sets the width."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED_COLUMNS)
    console.print(page)


def comparison_page(found: Comparison) -> RenderableType:
    """The whole page."""
    head = Table.grid(padding=(0, 2))
    for each in answers(found):
        head.add_row(Text(each.question), Text(each.answer, "bold"), Text(each.confidence, "dim"))
    parts: list[RenderableType] = [
        Text.assemble("A  ", (short(found.a.place), "bold"), ("  " + found.a.place, "dim")),
        Text.assemble("B  ", (short(found.b.place), "bold"), ("  " + found.b.place, "dim")),
        Text(),
        head,
        Text(),
        *_titled("Architecture", _architecture(found)),
        *_titled("Weights", _weights(found)),
        *_titled("Duties", _duties(found)),
    ]
    blind = "names and configs were left aside" if found.blind else "names and configs were read, as claims"
    return Group(*parts, Text(f"{blind}; {found.seconds:.1f} s", "dim"))


def _titled(title: str, parts: Iterable[RenderableType]) -> list[RenderableType]:
    return [Text(title, "bold underline"), *(Padding(each, (0, 0, 0, 2)) for each in parts), Text()]


def _rows(rows: Sequence[Sequence[str | Text]], heading: Sequence[str] = ()) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(heading), header_style="dim", pad_edge=False)
    for index in range(len(rows[0]) if rows else len(heading)):
        table.add_column(heading[index] if heading else "", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _architecture(found: Comparison) -> Iterable[RenderableType]:
    verdict = found.architecture
    yield Text(sentence(verdict.sentence))
    a, b = side_facts(found.a), side_facts(found.b)
    yield _rows([(name, told, other) for (name, told), (_, other) in zip(a, b, strict=True)], ("", "A", "B"))
    changed = renames(verdict.pairings)
    if changed:
        shown = [
            (each.a, "→", each.b, f"× {each.count}", f"by {each.proof}", each.change)
            for each in changed[:RENAMES_SHOWN]
        ]
        yield Text()
        yield _rows(shown, ("in A", "", "in B", "", "", ""))
        if len(changed) > RENAMES_SHOWN:
            yield Text(f"and {len(changed) - RENAMES_SHOWN} more; --json and --html have them all", "dim")
    for label, names in (("only in A", verdict.only_a), ("only in B", verdict.only_b), ("buffers", verdict.buffers)):
        if names:
            yield Text(f"{label}: {', '.join(names[:4])}{' …' if len(names) > 4 else ''} ({len(names)})")
    for whose, fact in unknown_facts(found):
        yield Text(f"not in the weights of {whose}: {fact}", "dim")


def _weights(found: Comparison) -> Iterable[RenderableType]:
    verdict = found.weights
    yield Text(sentence(verdict.summary))
    if verdict.steps:
        yield _rows([(Text(str(step.what), "bold"), step.evidence) for step in verdict.steps])
    if verdict.parents:
        yield _rows(
            [(each.place, f"{each.weight:.3f} ± {each.spread:.3f}") for each in told_shares(verdict)],
            ("parent", "share"),
        )
    origins = [layer.a for layer in verdict.layers]
    if origins and origins != list(range(len(origins))):
        told = ["·" if each is None else str(each) for each in origins]
        for first in range(0, len(told), LAYERS_ON_A_LINE):
            label = f"layers of {found.parent[0]}, in the order of {found.child[0]}'s: " if not first else ""
            yield Text(label + " ".join(told[first : first + LAYERS_ON_A_LINE]))
    if verdict.tests:
        yield Text()
        rows = [(test.name, test.observed, Text(bound(test.log10_p), "bold"), test.bound) for test in verdict.tests]
        yield _rows(rows, ("test of independence", "observed", "", "bound"))
        for limits in dict.fromkeys(test.limits for test in verdict.tests):
            yield Text(f"limits: {limits}", "dim")
    for reason in verdict.reasons:
        yield Text(f"note: {reason}", "dim")


def _duties(found: Comparison) -> Iterable[RenderableType]:
    duties = found.duties
    for side in ("a", "b"):
        for each in duties.declared[side]:
            yield Text.assemble(
                (f"{side.upper()} declares ", "dim"), f"{each.what}: {each.value}", (f"  {each.where}", "dim")
            )
    for ancestor in duties.lineage:
        licences = " or ".join(ancestor.licences) or "unknown"
        revision = "" if ancestor.revision == "unknown" else f" at {ancestor.revision[:12]}"
        yield Text.assemble((ancestor.standing, "bold"), f" ancestor: {ancestor.name}{revision}, licence {licences}")
        if ancestor.note:
            yield Text(f"  {ancestor.note}", "dim")
    for title, asked in duties_by_licence(duties).items():
        yield Text(f"\n{title} asks for")
        rows = [
            (Text(each.standing, STANDINGS[each.standing]), each.asks, Text(each.evidence, "dim")) for each in asked
        ]
        yield _rows(rows)
    for remark in duties.remarks:
        yield Text(remark, "dim")


def ranking_page(found: Ranking) -> RenderableType:
    """One model among many, the nearest first."""
    rows = [
        (
            each.file,
            Text(weight_words(each.verdict), "bold"),
            bound(each.log10_p) if math.isfinite(each.log10_p) else "equal numbers",
            Text(each.verdict.summary, "dim"),
        )
        for each in found.candidates
    ]
    parts: list[RenderableType] = [
        Text.assemble((short(found.model.place), "bold"), ("  " + found.model.place, "dim")),
        Text(),
        _rows(rows, ("candidate", "the model is", "", "")),
    ]
    if found.merge is not None:
        shares = [(each.place, f"{each.weight:.3f} ± {each.spread:.3f}") for each in told_shares(found.merge)]
        parts += [Text(), Text("a mean of several candidates", "bold"), _rows(shares, ("parent", "share"))]
    told = f"p-values are bounds, corrected for {len(found.candidates)} candidates (Holm); {found.seconds:.1f} s"
    return Group(*parts, Text(), Text(told, "dim"))
