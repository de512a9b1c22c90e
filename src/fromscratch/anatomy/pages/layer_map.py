"""The map from layers of the parent to layers of the child, drawn, and how near each part of a layer stayed."""

from dataclasses import dataclass
from html import escape

from fromscratch.anatomy.compare import Comparison
from fromscratch.anatomy.relation.judgement import Distance, LayerMatch
from fromscratch.anatomy.structure.roles import Part, Role

__all__ = ["layer_map", "outside_cells"]

ROW, TOP = 22, 46
PARENT_AT, CHILD_AT, CELLS_AT, CELL = 62, 232, 286, 66
BOX = 34
COLUMNS = (
    (("attention", "norm"), (Role.ATTENTION_NORM,)),
    (("query",), (Role.QUERY, Role.QUERY_KEY_VALUE)),
    (("key",), (Role.KEY, Role.KEY_VALUE, Role.QUERY_KEY_VALUE)),
    (("value",), (Role.VALUE, Role.KEY_VALUE, Role.QUERY_KEY_VALUE)),
    (("attention", "output"), (Role.ATTENTION_OUTPUT,)),
    (("MLP", "norm"), (Role.MLP_NORM,)),
    (("gate",), (Role.GATE, Role.GATE_UP)),
    (("up",), (Role.UP, Role.GATE_UP)),
    (("down",), (Role.DOWN,)),
)
OUTSIDE = ((Role.EMBEDDING, "embedding"), (Role.FINAL_NORM, "final norm"), (Role.HEAD, "head"))


@dataclass(frozen=True)
class Cell:
    """How near one tensor of the child is to what it comes from."""

    tone: str
    """same, near, akin, far, or none where nothing is known."""
    label: str
    title: str


def outside_cells(found: Comparison) -> list[tuple[str, Cell]]:
    """Embedding, final norm and head."""
    near = _nearness(found)
    parts = found.child[1].structure.parts.values()
    named = ((title, next((part for part in parts if part.role == role), None)) for role, title in OUTSIDE)
    return [(title, _cell(part, near)) for title, part in named if part is not None]


def layer_map(found: Comparison) -> str:
    """The drawing as SVG; empty where no layer of the child was found in the parent."""
    origin = {layer.b: layer for layer in found.weights.layers if layer.a is not None}
    if not origin:
        return ""
    (parent, before), (child, after) = found.parent, found.child
    of_parent, of_child = before.structure.layers, after.structure.layers
    parts = {(part.role, part.layer): part for part in after.structure.parts.values()}
    columns = [(words, roles) for words, roles in COLUMNS if any((role, 0) in parts for role in roles)]
    width, height = CELLS_AT + CELL * len(columns) + 6, TOP + ROW * max(of_parent, of_child) + 4
    used = {layer.a for layer in origin.values()}
    near = _nearness(found)
    drawn = [
        f'<svg class="map" viewBox="0 0 {width} {height}" role="img" aria-label="Layers of {parent} and of {child}">',
        f'<text x="{PARENT_AT - BOX / 2}" y="30" class="head">{parent}</text>',
        f'<text x="{CHILD_AT + BOX / 2}" y="30" class="head">{child}</text>',
        *(_line(layer, parent, child) for layer in origin.values()),
        *(_box(PARENT_AT - BOX, i, "" if i in used else "unused") for i in range(of_parent)),
        *(_box(CHILD_AT, j, "" if j in origin else "unused") for j in range(of_child)),
    ]
    for index, (words, roles) in enumerate(columns):
        x = CELLS_AT + CELL * index
        for line, word in enumerate(reversed(words)):
            drawn.append(f'<text x="{x + CELL / 2}" y="{30 - 13 * line}" class="head">{word}</text>')
        for j in range(of_child):
            part = next((parts[role, j] for role in roles if (role, j) in parts), None)
            drawn.append(_drawn(_cell(part, near), x, TOP + ROW * j))
    return "\n".join([*drawn, "</svg>"])


def _line(layer: LayerMatch, parent: str, child: str) -> str:
    assert layer.a is not None
    start, end, bend = _middle(layer.a), _middle(layer.b), (PARENT_AT + CHILD_AT) / 2
    title = f"layer {layer.b} of {child} comes from layer {layer.a} of {parent}, cosine {layer.cosine:.3f}"
    path = f"M{PARENT_AT} {start} C{bend} {start} {bend} {end} {CHILD_AT} {end}"
    return f'<path class="line {_tone(layer.cosine)}" d="{path}"><title>{title}</title></path>'


def _middle(layer: int) -> float:
    return TOP + ROW * layer + ROW / 2 - 1


def _box(x: float, layer: int, kind: str) -> str:
    y = TOP + ROW * layer
    return (
        f'<rect class="layer {kind}" x="{x}" y="{y}" width="{BOX}" height="{ROW - 2}" rx="3"/>'
        f'<text x="{x + BOX / 2}" y="{y + 14}" class="{kind}">{layer}</text>'
    )


def _drawn(cell: Cell, x: float, y: float) -> str:
    return (
        f'<g><title>{escape(cell.title)}</title><rect class="cell {cell.tone}" x="{x + 1}" y="{y}" width="{CELL - 2}" '
        f'height="{ROW - 2}" rx="3"/>'
        f'<text x="{x + CELL / 2}" y="{y + 14}" class="on {cell.tone}">{cell.label}</text></g>'
    )


def _nearness(found: Comparison) -> dict[str, Distance | None]:
    """By tensor of the child: its distance from what it comes from, or None where their numbers are equal."""
    exact: dict[str, Distance | None] = dict.fromkeys(found.weights.names)
    return exact | {each.b: each for each in found.weights.distances}


def _cell(part: Part | None, near: dict[str, Distance | None]) -> Cell:
    if part is None:
        return Cell("none", "", "not there")
    if part.name not in near:
        return Cell("none", "·", f"{part.name}: nothing to compare it with")
    distance = near[part.name]
    if distance is None:
        return Cell("same", "equal", f"{part.name}: equal numbers")
    told = f"{part.name}: cosine {distance.cosine:.5f}, changed by {distance.relative:.3g} of its norm"
    return Cell(_tone(distance.cosine), f"{distance.cosine:.3f}", f"{told}, from {distance.a}")


def _tone(cosine: float) -> str:
    return "same" if cosine > 0.9999 else "near" if cosine > 0.95 else "akin" if cosine > 0.3 else "far"
