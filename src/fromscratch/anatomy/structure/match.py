"""Whether two checkpoints have one architecture, and which tensor of one is called what in the other."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from fromscratch.anatomy.structure.axes import UNKNOWN
from fromscratch.anatomy.structure.roles import Part, Role, Structure

__all__ = ["ArchitectureVerdict", "Pairing", "match_names"]

Verdict = Literal["same", "same_up_to_renaming", "contained", "different", "undecided"]
Proof = Literal["numbers", "roles"]

OUTSIDE = {Role.EMBEDDING, Role.POSITION_EMBEDDING, Role.TOKEN_TYPE_EMBEDDING, Role.EMBEDDING_NORM, Role.FINAL_NORM}
OUTSIDE |= {Role.HEAD, Role.HEAD_BIAS, Role.FINAL_NORM_BIAS, Role.EMBEDDING_NORM_BIAS, Role.ROTARY_FREQUENCIES}
PIECES = {
    Role.QUERY_KEY_VALUE: (Role.QUERY, Role.KEY, Role.VALUE),
    Role.KEY_VALUE: (Role.KEY, Role.VALUE),
    Role.GATE_UP: (Role.GATE, Role.UP),
}
PIECES |= {role.bias: tuple(each.bias for each in pieces) for role, pieces in PIECES.items()}


@dataclass(frozen=True)
class Pairing:
    """What stands in the same place of both."""

    a: tuple[str, ...]
    b: tuple[str, ...]
    """Several names where one checkpoint keeps in one tensor what the other keeps apart."""
    role: Role
    layer: int | None
    proof: Proof
    """Equal numbers, or the same role in the same layer."""
    change: tuple[str, ...] = ()
    """What else differs: ``fused`` or ``split`` on the way to b, ``transposed``, ``reordered``."""

    @property
    def renamed(self) -> bool:
        """Whether the same tensor has two names."""
        return len(self.a) == len(self.b) == 1 and self.a != self.b


@dataclass(frozen=True)
class ArchitectureVerdict:
    """The answer to "is it the same architecture", with its proof."""

    verdict: Verdict
    sentence: str
    pairings: tuple[Pairing, ...]
    axes: tuple[tuple[str, str, str], ...]
    """Axis, there in ``a``, here in ``b``, for each that differs."""
    sizes: tuple[tuple[str, str, str], ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    buffers: tuple[str, ...]
    """Tensors that code makes again, such as ``rotary_emb.inv_freq``: no part of the architecture."""
    equivalent: tuple[tuple[str, ...], ...]
    """Names in ``b`` among which nothing tells: equal numbers, or one role found without a layer."""

    @property
    def renames(self) -> dict[str, str]:
        """The rename map, from names in ``a`` to names in ``b``, of those that differ."""
        return {pair.a[0]: pair.b[0] for pair in self.pairings if pair.renamed}


def match_names(
    a: Structure, b: Structure, digests: tuple[Mapping[str, str], Mapping[str, str]] | None = None
) -> ArchitectureVerdict:
    """Compare two architectures, whatever their weights are.

    ``digests`` (of the numbers of each tensor, by name) make the map a proof where weights are the same: a tensor
    whose numbers are found once in both is that tensor, whatever its role was thought to be. Elsewhere role and layer
    decide. Tensors with equal numbers, such as norms that are all ones, are told apart by their roles, and reported as
    ``equivalent``.
    """
    equal, equivalent = _by_numbers(*digests) if digests else ({}, ())
    pairings = [_equal_pair(a.parts[one], b.parts[other]) for one, other in equal.items()]
    pairings += _by_roles(_places(a, equal), _places(b, equal.values()))
    at = {name: place for place, name in enumerate(a.parts)}
    pairings = sorted((pair for pair in pairings if pair.role.is_weight), key=lambda pair: at[pair.a[0]])
    if None not in (a.rotary_layout, b.rotary_layout) and a.rotary_layout != b.rotary_layout:
        pairings = [_turned(pair) if pair.proof == "roles" else pair for pair in pairings]
    only_a = _unpaired(a, {name for pair in pairings for name in pair.a})
    only_b = _unpaired(b, {name for pair in pairings for name in pair.b})
    axes, sizes = _axes(a, b), _sizes(a, b, pairings)
    equivalent += _classes(b, only_b) if _forms(a, only_a) == _forms(b, only_b) else ()
    verdict, sentence = _verdict(a, b, pairings, axes, sizes, only_a, only_b)
    parts = [*a.parts.values(), *b.parts.values()]
    buffers = tuple(dict.fromkeys(part.name for part in parts if not part.role.is_weight))
    return ArchitectureVerdict(verdict, sentence, tuple(pairings), axes, sizes, only_a, only_b, buffers, equivalent)


def _by_numbers(a: Mapping[str, str], b: Mapping[str, str]) -> tuple[dict[str, str], tuple[tuple[str, ...], ...]]:
    """Tensors whose numbers occur once on either side, and the classes of those that occur more often."""
    names_a, names_b = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for digest_of, names in ((a, names_a), (b, names_b)):
        for name, digest in digest_of.items():
            names[digest].append(name)
    shared = [each for each in names_a if each in names_b]
    once = {names_a[each][0]: names_b[each][0] for each in shared if len(names_a[each]) == len(names_b[each]) == 1}
    classes = (tuple(sorted(names_b[each])) for each in shared if max(len(names_a[each]), len(names_b[each])) > 1)
    return once, tuple(sorted(each for each in classes if len(each) > 1))


def _classes(structure: Structure, names: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """Names of one role, or of one shape where even that is not known."""
    classes = defaultdict[tuple[Role, tuple[int, ...]], list[str]](list)
    for name in names:
        part = structure.parts[name]
        classes[part.role, part.shape].append(name)
    return tuple(tuple(each) for each in classes.values())


def _equal_pair(one: Part, other: Part) -> Pairing:
    known = one if one.role != Role.UNKNOWN else other
    return Pairing((one.name,), (other.name,), known.role, known.layer, "numbers")


Place = tuple[Role, int | None]


def _places(structure: Structure, taken: Iterable[str]) -> dict[Place, Part]:
    """What is left, by role and layer; fused tensors under each role that they hold."""
    used, places = set(taken), dict[Place, Part]()
    for name, part in structure.parts.items():
        unplaced = part.role == Role.UNKNOWN or (part.layer is None and part.role not in OUTSIDE)
        if not unplaced and name not in used:
            for role in PIECES.get(part.role, (part.role,)):
                places[role, part.layer] = part
    return places


def _by_roles(a: Mapping[Place, Part], b: Mapping[Place, Part]) -> list[Pairing]:
    """Parts in the same places; whatever one side keeps in one tensor makes one pairing."""
    groups: list[tuple[list[Part], list[Part], Place]] = []
    for place in a:
        if place in b:
            known = next((each for each in groups if a[place] in each[0] or b[place] in each[1]), None)
            if known is None:
                groups.append(([a[place]], [b[place]], place))
            else:
                known[0].extend({a[place]} - {*known[0]})
                known[1].extend({b[place]} - {*known[1]})
    return [_role_pair(ones, others, *place) for ones, others, place in groups]


def _role_pair(ones: list[Part], others: list[Part], role: Role, layer: int | None) -> Pairing:
    changes = []
    if len(ones) != len(others):
        changes.append("fused" if len(ones) > len(others) else "split")
    if ones[0].transposed != others[0].transposed and len(ones[0].shape) == 2:
        changes.append("transposed")
    if {each.order for each in ones if each.role in PIECES} ^ {each.order for each in others if each.role in PIECES}:
        changes += ["reordered"] * (len(ones) == len(others))
    names = tuple(part.name for part in ones), tuple(part.name for part in others)
    role = ones[0].role if len(ones) == 1 else others[0].role if len(others) == 1 else role
    return Pairing(*names, role, layer, "roles", tuple(changes))


def _turned(pair: Pairing) -> Pairing:
    """Queries and keys whose rows lie in another order, for other numbers of a head turn together."""
    turning = {Role.QUERY, Role.KEY, Role.QUERY_KEY_VALUE, Role.QUERY_NORM, Role.KEY_NORM}
    moved = pair.role in turning | {role.bias for role in turning}
    return replace(pair, change=(*pair.change, "of another rotary layout")) if moved else pair


def _unpaired(structure: Structure, paired: Collection[str]) -> tuple[str, ...]:
    """Weights without a counterpart; a head that repeats the embedding is none."""
    return tuple(
        name
        for name, part in structure.parts.items()
        if name not in paired and part.role.is_weight and not (part.role == Role.HEAD and structure.tied)
    )


def _axes(a: Structure, b: Structure) -> tuple[tuple[str, str, str], ...]:
    values = ((axis, a.axes[axis].value, b.axes[axis].value) for axis in a.axes if axis in b.axes)
    return tuple(each for each in values if each[1] != each[2] and not any(UNKNOWN in value for value in each[1:]))


def _sizes(a: Structure, b: Structure, pairings: Collection[Pairing]) -> tuple[tuple[str, str, str], ...]:
    numbers: list[tuple[str, int | None, int | None]] = [
        ("layers", a.layers, b.layers),
        ("width", a.width, b.width),
        ("MLP width", a.mlp_width, b.mlp_width),
        ("query heads", a.query_heads, b.query_heads),
        ("key/value heads", a.kv_heads, b.kv_heads),
        ("head width", a.head_width, b.head_width),
        ("vocabulary", a.vocabulary, b.vocabulary),
    ]
    told = [(what, f"{one:,}", f"{other:,}") for what, one, other in numbers if one and other and one != other]
    if a.tied != b.tied and UNKNOWN not in (a.findings["head"].value, b.findings["head"].value):
        told.append(("head", "tied" if a.tied else "untied", "tied" if b.tied else "untied"))
    known = {size for _, one, other in numbers if one and other and one != other for size in (one, other)}
    for pair in pairings:  # a shape that no size accounts for, as where one layer is narrower
        one, other = a.parts[pair.a[0]], b.parts[pair.b[0]]
        if (
            len(pair.a) == len(pair.b) == 1
            and sorted(one.shape) != sorted(other.shape)
            and not (known & {*one.shape, *other.shape})
        ):
            told.append((one.name, _shape(one), _shape(other)))
    return tuple(told)


def _shape(part: Part) -> str:
    return " × ".join(f"{each:,}" for each in part.shape)


def _verdict(
    a: Structure,
    b: Structure,
    pairings: Collection[Pairing],
    axes: Collection[tuple[str, str, str]],
    sizes: tuple[tuple[str, str, str], ...],
    only_a: Collection[str],
    only_b: Collection[str],
) -> tuple[Verdict, str]:
    if not a.layers or not b.layers:
        return "undecided", "the roles of its tensors could not be told"
    if axes:
        told = ", ".join(f"{axis} ({one}; {other})" for axis, one, other in axes)
        return "different", f"different architectures: {told}"
    extra = {what for what, _, _ in sizes}
    if not extra and only_a and _forms(a, only_a) == _forms(b, only_b):
        return _same(pairings, len(only_a))
    strange = [name for side, only in ((a, only_a), (b, only_b)) for name in only if not _within(side, name, extra)]
    if strange:
        return "undecided", f"{len(strange)} tensors have no counterpart, such as {strange[0]}"
    if not sizes and not only_a and not only_b:
        return _same(pairings)
    told = (
        ", ".join(f"{what} {one} and {other}" for what, one, other in sizes) or f"{len(only_a) + len(only_b)} tensors"
    )
    fewer = {one for one in ("a", "b") if _holds(sizes, only_a, only_b, one)}
    if fewer:
        inner, outer = ("B", "A") if "a" in fewer else ("A", "B")
        return "contained", f"{inner} has the architecture of {outer} with parts left out: {told}"
    return "different", f"the same family in other sizes: {told}"


def _within(structure: Structure, name: str, sizes: Collection[str]) -> bool:
    """Whether a size that differs accounts for a tensor that only one side has."""
    part = structure.parts[name]
    return (part.layer is not None and "layers" in sizes) or (part.role in (Role.HEAD, Role.HEAD_BIAS))


def _holds(
    sizes: Collection[tuple[str, str, str]], only_a: Collection[str], only_b: Collection[str], outer: str
) -> bool:
    """Whether the other is ``outer`` with layers, rows of the vocabulary, heads or MLP units left out."""
    for what, one, other in sizes:
        if what not in ("layers", "MLP width", "query heads", "key/value heads", "vocabulary"):
            return False
        larger, smaller = (one, other) if outer == "a" else (other, one)
        if int(larger.replace(",", "")) < int(smaller.replace(",", "")):
            return False
    return not (only_b if outer == "a" else only_a)


def _forms(structure: Structure, names: Collection[str]) -> Counter[tuple[int, ...]]:
    """Shapes, either way round, with how often each occurs."""
    return Counter(tuple(sorted(structure.parts[name].shape)) for name in names)


def _same(pairings: Collection[Pairing], only_by_form: int = 0) -> tuple[Verdict, str]:
    renamed = sum(pair.renamed for pair in pairings)
    changes = Counter(change for pair in pairings for change in pair.change)
    told = [f"{renamed} {'tensor' if renamed == 1 else 'tensors'} renamed"] if renamed else []
    told += [f"{count} {change}" for change, count in sorted(changes.items())]
    if only_by_form:
        told.append(f"{only_by_form} have the same shapes in both, and these weights do not tell which is which")
    if not told:
        return "same", "same architecture, same names"
    return "same_up_to_renaming", f"same architecture; {', '.join(told)}"
