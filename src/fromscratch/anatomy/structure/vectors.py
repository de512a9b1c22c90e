"""What the counts of vectors say: how many norms a layer has, and which of its maps add a bias."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from fromscratch.anatomy.structure.census import Census
from fromscratch.anatomy.structure.roles import Role

__all__ = ["Vectors", "read_vectors"]

NORMS = {
    1: (Role.ATTENTION_NORM,),
    2: (Role.ATTENTION_NORM, Role.MLP_NORM),
    4: (Role.ATTENTION_NORM, Role.MLP_NORM, Role.POST_ATTENTION_NORM, Role.POST_MLP_NORM),
}


@dataclass(frozen=True)
class Vectors:
    """Roles that vectors have between them, and sentences on what could not be told."""

    roles: frozenset[Role]
    unknown: tuple[str, ...]
    head_width: int | None
    """Of norms over single heads."""


def read_vectors(census: Census) -> Vectors:
    """The one reading of the vectors' lengths that fits exactly; nothing where several do, or none."""
    counts = {length: len(names) for length, names in census.vectors.items()}
    found = [(roles, head) for expected, roles, head in _readings(census) if expected == counts]
    total = sum(counts.values())
    if len(found) != 1:
        told = "no" if not found else "more than one"
        return Vectors(frozenset(), (f"what the {total} vectors are: {told} set of norms and biases fits",), None)
    roles, head = found[0]
    return Vectors(roles, (f"which of the {total} vectors stands in which layer",), head)


def _readings(census: Census) -> Iterator[tuple[dict[int, int], frozenset[Role], int | None]]:
    heads = [None, *(length for length, names in census.vectors.items() if len(names) == 2 * census.layers)]
    taken = {census.width, census.query_width, census.kv_width, census.mlp_width}
    for norms, adds, final, biases, head in product(
        NORMS, (False, True), (False, True), ("none", "query_key_value", "all"), heads
    ):
        if head is None or head not in taken:
            yield _reading(census, norms, adds, final, biases, head)


def _reading(
    census: Census, norms: int, adds: bool, final: bool, biases: str, head: int | None
) -> tuple[dict[int, int], frozenset[Role], int | None]:
    """Vectors by length for one choice: norms per layer, whether they add a bias, a last norm, biases of maps."""
    plain = [*NORMS[norms]] + ([Role.FINAL_NORM] if final else [])
    roles = {*plain, *(role.bias for role in plain if adds)}
    expected = {census.width: (norms * census.layers + final) * (1 + adds)}

    def add(length: int, times: int, *some: Role) -> None:
        expected[length] = expected.get(length, 0) + times * census.layers
        roles.update(some)

    if biases != "none" and census.attention == "fused":
        add(census.query_width + 2 * census.kv_width, 1, Role.QUERY_KEY_VALUE_BIAS)
    elif biases != "none":
        add(census.query_width, 1, Role.QUERY_BIAS)
        add(census.kv_width, 2, Role.KEY_BIAS, Role.VALUE_BIAS)
    if biases == "all":
        add(census.width, 2, Role.ATTENTION_OUTPUT_BIAS, Role.DOWN_BIAS)
        ups = {"gated": (census.mlp_width, 2), "plain": (census.mlp_width, 1), "fused": (2 * census.mlp_width, 1)}
        add(*ups[census.mlp], Role.UP_BIAS)
    if head is not None:
        add(head, 2, Role.QUERY_NORM, Role.KEY_NORM)
    return expected, frozenset(roles), head
