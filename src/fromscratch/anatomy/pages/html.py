"""A comparison as one self-contained page: no scripts, nothing loaded, the map layer by layer."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from fromscratch import __version__
from fromscratch.anatomy.compare import Comparison
from fromscratch.anatomy.duties import Ancestor
from fromscratch.anatomy.pages.layer_map import layer_map, outside_cells
from fromscratch.anatomy.pages.wording import (
    Answer,
    answers,
    bound,
    duties_by_licence,
    renames,
    sentence,
    short,
    side_facts,
    told_shares,
    unknown_facts,
)
from fromscratch.anatomy.relation.judgement import WeightVerdict

__all__ = ["comparison_html", "page"]

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>
{style}</style>
</head>
<body><main>"""
STYLE = Path(__file__).with_name("page.css")
TONES = {"observed": "good", "not observed": "bad", "declared": "", "unknown": "mild"}
ROWS_OPEN = 24
KEYS = (("same", "equal, or cosine above .9999"), ("near", "above .95"), ("akin", "above .3"), ("far", "below"))


def comparison_html(found: Comparison) -> str:
    """The page as HTML; the same comparison gives the same bytes but for the seconds it took."""
    a, b = escape(short(found.a.place)), escape(short(found.b.place))
    read = "names and configs were left aside" if found.blind else "names and configs were read, as claims"
    body = [
        '<header>\n<p class="eyebrow">Is it the same model?</p>',
        f"<h1>{b} <i>beside</i> {a}</h1>",
        f'<p class="lead">A is {_code(found.a.place)}, B is {_code(found.b.place)}.</p>',
        f'<ul class="answers">{"".join(map(_answer, answers(found)))}</ul>\n</header>',
        _section("Architecture", _architecture(found)),
        _section("Weights", _weights(found)),
        _section("Duties", _duties(found)),
        f"<footer>fromscratch {__version__} · {read} · {found.seconds:.1f} s</footer>",
    ]
    return page(f"{b} and {a} · comparison", body)


def page(title: str, body: Iterable[str]) -> str:
    """A whole document around the parts of its body, with the style in it."""
    return "\n".join(
        [HEAD.format(title=title, style=STYLE.read_text(encoding="utf-8")), *body, "</main></body></html>\n"]
    )


def _answer(each: Answer) -> str:
    return f"<li><span>{each.question}</span><b>{escape(each.answer)}</b><span>{escape(each.confidence)}</span></li>"


def _section(title: str, parts: Iterable[str]) -> str:
    return "\n".join([f"<section>\n<h2>{title}</h2>", *parts, "</section>"])


def _table(rows: Sequence[Sequence[str]], heading: Sequence[str] = ()) -> str:
    """Cells are HTML; the first of a row is its heading."""
    head = f"<thead><tr>{''.join(f'<th>{each}</th>' for each in heading)}</tr></thead>" if heading else ""
    body = "\n".join(f"<tr><th>{row[0]}</th>{''.join(f'<td>{each}</td>' for each in row[1:])}</tr>" for row in rows)
    return f'<div class="scroll"><table>{head}<tbody>\n{body}\n</tbody></table></div>'


def _folded(rows: Sequence[Sequence[str]], heading: Sequence[str], title: str) -> str:
    """A table that is closed at first if it is long."""
    table = _table(rows, heading)
    return table if len(rows) <= ROWS_OPEN else f"<details><summary>{title}</summary>{table}</details>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _architecture(found: Comparison) -> Iterable[str]:
    verdict = found.architecture
    yield f"<p>{escape(sentence(verdict.sentence))}</p>"
    a, b = side_facts(found.a), side_facts(found.b)
    facts = [(escape(name), escape(told), escape(other)) for (name, told), (_, other) in zip(a, b, strict=True)]
    yield _table(facts, ("", "A", "B"))
    changed = renames(verdict.pairings)
    if changed:
        yield "<h3>Names and layout that differ</h3>"
        rows = [
            (_code(each.a), _code(each.b), f"× {each.count}", f"by {each.proof}", escape(each.change))
            for each in changed
        ]
        yield _folded(rows, ("in A", "in B", "", "matched", "change"), f"all {len(rows)} differences")
    for label, names in (("Only in A", verdict.only_a), ("Only in B", verdict.only_b), ("Buffers", verdict.buffers)):
        if names:
            listed = ", ".join(map(_code, names))
            yield f"<details><summary>{label}: {len(names)} tensors</summary><p>{listed}</p></details>"
    yield "<h3>What weights cannot tell</h3>"
    yield _table([(whose, escape(fact)) for whose, fact in unknown_facts(found)])


def _weights(found: Comparison) -> Iterable[str]:
    verdict = found.weights
    yield f"<p>{escape(sentence(verdict.summary))}</p>"
    if verdict.steps:
        yield _table([(escape(str(step.what)), escape(step.evidence)) for step in verdict.steps], ("step", "evidence"))
    if verdict.parents:
        rows = [(_code(each.place), f"{each.weight:.3f} ± {each.spread:.3f}") for each in told_shares(verdict)]
        yield _table(rows, ("parent", "share"))
    yield from _map(found)
    yield from _tests(verdict)


def _map(found: Comparison) -> Iterable[str]:
    drawing = layer_map(found)
    if not drawing:
        return
    yield "<h3>Layer by layer</h3>"
    yield f'<ul class="keys">{"".join(f"<li><i class={tone}></i>{told}</li>" for tone, told in KEYS)}</ul>'
    yield f'<div class="scroll">{drawing}</div>'
    chips = (f'<li title="{escape(cell.title)}">{title}: {cell.label}</li>' for title, cell in outside_cells(found))
    yield f'<ul class="chips">{"".join(chips)}</ul>'


def _tests(verdict: WeightVerdict) -> Iterable[str]:
    if verdict.tests:
        yield "<h3>Tests of having nothing to do with each other</h3>"
        rows = [
            (escape(test.name), escape(test.observed), f'<b class="p">{bound(test.log10_p)}</b>', _code(test.bound))
            for test in verdict.tests
        ]
        yield _table(rows, ("test", "observed", "p-value", "bound"))
        for limits in dict.fromkeys(test.limits for test in verdict.tests):
            yield f'<p class="note">Limits: {escape(limits)}.</p>'
    for reason in verdict.reasons:
        yield f'<p class="note">{escape(sentence(reason))}</p>'


def _duties(found: Comparison) -> Iterable[str]:
    duties = found.duties
    rows = [
        (side.upper(), escape(each.what), escape(each.value), _code(each.where))
        for side in ("a", "b")
        for each in duties.declared[side]
    ]
    yield _table(rows, ("", "declares", "", "where")) if rows else "<p>Neither declares anything.</p>"
    if duties.lineage:
        yield "<h3>Lineage</h3>"
        lineage = [
            (
                escape(each.name),
                each.standing,
                escape(each.evidence),
                f'<span class="key">{escape(each.revision[:12])}</span>',
                _licences(each),
            )
            for each in duties.lineage
        ]
        yield _table(lineage, ("ancestor", "", "by", "revision", "licence"))
    for title, asked in duties_by_licence(duties).items():
        yield f"<h3>{escape(title)} asks for</h3>"
        yield _table(
            [
                (
                    escape(each.asks),
                    f'<span class="{TONES[each.standing]}">{each.standing}</span>',
                    escape(each.evidence),
                )
                for each in asked
            ]
        )
    for remark in duties.remarks:
        yield f'<p class="note">{escape(remark)}</p>'


def _licences(of: Ancestor) -> str:
    told = escape(" or ".join(of.licences) or "unknown")
    return f'{told} <span class="note">{escape(of.note)}</span>' if of.note else told
