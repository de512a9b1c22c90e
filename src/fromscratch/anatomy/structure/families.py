"""Which known family a structure is nearest to, and in what it differs from it."""

import math
from dataclasses import dataclass

from fromscratch.anatomy.structure.axes import UNKNOWN, axes_of_settings
from fromscratch.anatomy.structure.roles import Structure
from fromscratch.model.presets import PRESETS, Preset

__all__ = ["Nearest", "nearest_family"]

AXIS_COSTS = 10.0  # a different axis weighs more than any difference in size


@dataclass(frozen=True)
class Nearest:
    """A known model, and every difference from it: what, there, here."""

    name: str
    also: tuple[str, ...]
    """Others that no shape and no axis tells from it: they differ in what weights do not show."""
    axes: tuple[tuple[str, str, str], ...]
    sizes: tuple[tuple[str, str, str], ...]

    @property
    def same_shape(self) -> bool:
        """Whether nothing differs at all."""
        return not self.axes and not self.sizes


def nearest_family(structure: Structure) -> Nearest | None:
    """The preset that differs on the fewest axes and then least in its sizes; None without layers to compare."""
    if not structure.layers or not structure.width:
        return None
    found = {name: _differences(structure, preset) for name, preset in PRESETS.items()}
    cost = {name: _cost(structure, PRESETS[name], axes) for name, (axes, _) in found.items()}
    name = min(cost, key=lambda each: cost[each])
    also = tuple(
        other for other in found if other != name and found[other] == found[name] and cost[other] == cost[name]
    )
    return Nearest(name, also, *found[name])


Differences = tuple[tuple[tuple[str, str, str], ...], tuple[tuple[str, str, str], ...]]


def _differences(structure: Structure, preset: Preset) -> Differences:
    there = axes_of_settings(preset.settings)
    axes = tuple(
        (axis, there[axis], found.value)
        for axis, found in structure.axes.items()
        if found.value != there[axis] and UNKNOWN not in found.value
    )
    numbers = {name: (known, here) for name, known, here in _sizes(structure, preset) if here is not None}
    sizes = tuple((name, f"{known:,}", f"{here:,}") for name, (known, here) in numbers.items() if known != here)
    head = "tied" if structure.tied else "untied"
    if head != preset.settings.head and structure.findings["head"].value != UNKNOWN:
        sizes += (("head", preset.settings.head, head),)
    return axes, sizes


def _sizes(structure: Structure, preset: Preset) -> list[tuple[str, int, int | None]]:
    known = preset.settings
    return [
        ("layers", known.layers, structure.layers),
        ("width", known.width, structure.width),
        ("MLP width", known.ffn_width, structure.mlp_width),
        ("query heads", known.heads, structure.query_heads),
        ("key/value heads", known.kv_heads, structure.kv_heads),
        ("head width", known.key_width, structure.head_width),
        ("vocabulary", preset.vocabulary, structure.vocabulary),
    ]


def _cost(structure: Structure, preset: Preset, axes: tuple[tuple[str, str, str], ...]) -> float:
    sizes = [(known, here) for _, known, here in _sizes(structure, preset) if here]
    head = structure.tied != (preset.settings.head == "tied")
    return AXIS_COSTS * len(axes) + sum(abs(math.log(here / known)) for known, here in sizes) + 0.1 * head
