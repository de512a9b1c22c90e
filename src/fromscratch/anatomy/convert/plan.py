"""A conversion as a plan: every output tensor as slices, turns, paddings and casts of input tensors, and the checks."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fromscratch.anatomy.tensors import Checkpoint, StoredTensor
from fromscratch.core.errors import FromScratchError

__all__ = [
    "BLOCK_NUMBERS",
    "WIDTHS",
    "Output",
    "Plan",
    "Slice",
    "Values",
    "Zeros",
    "check_plan",
    "nbytes",
    "plan_from_json",
    "plan_text",
    "rows_and_columns",
]

WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
WIDTHS |= {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}
"""Bytes of one number, for the kinds that store numbers one by one."""

BLOCK_NUMBERS = 32
BLOCK_BYTES = {"Q4_0": 18, "Q4_1": 20, "Q8_0": 34}
"""The GGML forms that can be written: bytes of a block of 32 numbers of one row."""

CASTS = ("F32", "F16", "BF16", *BLOCK_BYTES)


@dataclass(frozen=True)
class Slice:
    """A rectangle of one input: cut out, turned over, regrouped, in this order. A vector is one column."""

    input: str
    rows: tuple[int, int]
    columns: tuple[int, int]
    transposed: bool = False
    regroup: tuple[int, int, int] | None = None
    """Rows seen as (a, b, c) come out as (a, c, b): (heads, 2, half) takes half-split rotary pairs to neighbours,
    (heads, half, 2) takes them back."""

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]
        return (columns, rows) if self.transposed else (rows, columns)


@dataclass(frozen=True)
class Zeros:
    """Padding: rows of zeros."""

    zeros: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        return self.zeros


@dataclass(frozen=True)
class Values:
    """A few numbers that follow from the settings, such as the factors of rotary frequencies."""

    values: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.values), 1


Piece = Slice | Zeros | Values


@dataclass(frozen=True)
class Output:
    """One tensor to write: its pieces, one below the other."""

    name: str
    file: str
    shape: tuple[int, ...]
    """Outermost axis first."""
    kind: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Plan:
    """What becomes of every byte of a checkpoint."""

    source: str
    source_format: str
    target: str
    outputs: tuple[Output, ...]
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Inputs that are not written, each with the reason."""
    repeated: Mapping[str, str] = field(default_factory=dict)
    """Inputs that are written more than once, each with the reason."""
    remarks: tuple[str, ...] = ()
    """What a reader should know that is no tensor: code left out, settings assumed."""

    def renames(self, checkpoint: Checkpoint) -> dict[str, str] | None:
        """Old name → new name if every output is one whole input as it is stored; else None."""
        names = {}
        for output in self.outputs:
            piece, *others = output.pieces
            if others or not isinstance(piece, Slice) or not _is_whole(piece, output, checkpoint.tensors):
                return None
            names[piece.input] = output.name
        return names

    def as_json(self) -> dict[str, Any]:
        """Plain values, from which ``plan_from_json`` makes the plan again; what is not said is as by default."""
        outputs = [
            {**asdict(each), "pieces": [_piece_as_json(piece) for piece in each.pieces]} for each in self.outputs
        ]
        return {
            "source": self.source,
            "source_format": self.source_format,
            "target": self.target,
            "outputs": outputs,
            "dropped": dict(self.dropped),
            "repeated": dict(self.repeated),
            "remarks": list(self.remarks),
        }


def plan_text(plan: Plan) -> str:
    """The plan as JSON, a tensor a line."""
    content = plan.as_json()
    outputs = ",\n  ".join(json.dumps(each, ensure_ascii=False) for each in content.pop("outputs"))
    rest = json.dumps(content, ensure_ascii=False, indent=1)
    return f'{rest[:-2]},\n "outputs": [\n  {outputs}\n ]\n}}'


def plan_from_json(content: Mapping[str, Any]) -> Plan:
    """The plan that ``Plan.as_json`` wrote. Raises FromScratchError for anything else."""
    try:
        outputs = tuple(
            Output(
                each["name"],
                each["file"],
                tuple(each["shape"]),
                each["kind"],
                tuple(_piece_from_json(piece) for piece in each["pieces"]),
            )
            for each in content["outputs"]
        )
        return Plan(
            content["source"],
            content["source_format"],
            content["target"],
            outputs,
            dict(content["dropped"]),
            dict(content["repeated"]),
            tuple(content["remarks"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FromScratchError(f"this is no plan of a conversion: {error!r}", "print one with --plan") from None


def nbytes(shape: tuple[int, ...], kind: str) -> int:
    """Bytes of a tensor of this shape stored as this kind."""
    if kind in BLOCK_BYTES:
        return math.prod(shape) // BLOCK_NUMBERS * BLOCK_BYTES[kind]
    return math.prod(shape) * WIDTHS[kind]


def rows_and_columns(shape: tuple[int, ...]) -> tuple[int, int]:
    """A tensor seen as a matrix: its first axis, and all others as one; a vector is one column."""
    return (shape[0], math.prod(shape[1:])) if shape else (1, 1)


def check_plan(plan: Plan, checkpoint: Checkpoint) -> None:
    """Refuse a plan that does not fit the checkpoint, or that loses or doubles a byte without saying why.

    Every number of every input is in exactly one slice, or its tensor is named in ``dropped`` or ``repeated``; slices
    lie within their inputs; pieces make up their output's shape; each kind can be cast to the one asked for. Raises
    FromScratchError with the first tensor where that fails.
    """
    taken: dict[str, list[Slice]] = {}
    seen: set[tuple[str, str]] = set()
    for output in plan.outputs:
        if (output.file, output.name) in seen:
            raise _wrong(plan, output.name, "it would be written twice")
        seen.add((output.file, output.name))
        _check_output(plan, output, checkpoint.tensors)
        for piece in output.pieces:
            if isinstance(piece, Slice):
                taken.setdefault(piece.input, []).append(piece)
    for name, tensor in checkpoint.tensors.items():
        _check_use(plan, tensor, taken.get(name, []))
    if odd := sorted({*plan.dropped, *plan.repeated} - set(checkpoint.tensors)):
        raise _wrong(plan, odd[0], "there is no such input")


def _check_output(plan: Plan, output: Output, tensors: Mapping[str, StoredTensor]) -> None:
    rows, columns = rows_and_columns(output.shape)
    if any(piece.shape[1] != columns for piece in output.pieces):
        raise _wrong(plan, output.name, f"a piece of it has not {columns:,} columns")
    if (have := sum(piece.shape[0] for piece in output.pieces)) != rows:
        raise _wrong(plan, output.name, f"its pieces have {have:,} rows and not {rows:,}")
    if output.kind in BLOCK_BYTES and (len(output.shape) < 2 or output.shape[-1] % BLOCK_NUMBERS):
        raise _wrong(plan, output.name, f"{output.kind} needs rows of whole blocks of {BLOCK_NUMBERS}")
    for piece in output.pieces:
        if isinstance(piece, Slice):
            if piece.input not in tensors:
                raise _wrong(plan, output.name, f"there is no input `{piece.input}`")
            _check_slice(plan, output, piece, tensors[piece.input])


def _check_slice(plan: Plan, output: Output, piece: Slice, tensor: StoredTensor) -> None:
    bounds = rows_and_columns(tensor.shape)
    for (begin, end), bound in zip((piece.rows, piece.columns), bounds, strict=True):
        if not 0 <= begin < end <= bound:
            raise _wrong(plan, output.name, f"[{begin}, {end}) is not within the {bound:,} of `{piece.input}`")
    if piece.regroup is not None and math.prod(piece.regroup) != piece.shape[0]:
        raise _wrong(plan, output.name, f"{piece.shape[0]:,} rows cannot be seen as {piece.regroup}")
    if output.kind != tensor.kind and (output.kind not in CASTS or tensor.kind.startswith(("I", "U", "BOOL"))):
        raise _wrong(plan, output.name, f"{tensor.kind} cannot be cast to {output.kind}")
    if tensor.kind not in WIDTHS and output.kind == tensor.kind and (piece.transposed or piece.shape[1] != bounds[1]):
        raise _wrong(plan, output.name, f"columns of {tensor.kind} cannot be cut or turned as they are stored")


def _check_use(plan: Plan, tensor: StoredTensor, slices: list[Slice]) -> None:
    name = tensor.name
    if name in plan.dropped:
        if slices:
            raise _wrong(plan, name, "it is both dropped and used")
        return
    overlap = any(
        _meet(one.rows, other.rows) and _meet(one.columns, other.columns)
        for index, one in enumerate(slices)
        for other in slices[:index]
    )
    if name in plan.repeated and slices:
        return
    if overlap:
        raise _wrong(plan, name, "a part of it is used twice")
    used = sum(math.prod(each.shape) for each in slices)
    if used != math.prod(tensor.shape):
        raise _wrong(plan, name, f"{math.prod(tensor.shape) - used:,} of its numbers are not used")


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _is_whole(piece: Slice, output: Output, tensors: Mapping[str, StoredTensor]) -> bool:
    tensor = tensors[piece.input]
    as_stored = not piece.transposed and piece.regroup is None and output.kind == tensor.kind
    return as_stored and piece.shape == rows_and_columns(tensor.shape) and output.shape == tensor.shape


def _piece_as_json(piece: Piece) -> dict[str, Any]:
    plain = {name: value for name, value in asdict(piece).items() if value not in (None, False)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def _piece_from_json(piece: Mapping[str, Any]) -> Piece:
    if "zeros" in piece:
        return Zeros(_pair(piece["zeros"]))
    if "values" in piece:
        return Values(tuple(piece["values"]))
    regroup = piece.get("regroup")
    return Slice(
        piece["input"],
        _pair(piece["rows"]),
        _pair(piece["columns"]),
        piece.get("transposed", False),
        None if regroup is None else (regroup[0], regroup[1], regroup[2]),
    )


def _pair(numbers: Iterable[int]) -> tuple[int, int]:
    first, second = numbers
    return first, second


def _wrong(plan: Plan, name: str, why: str) -> FromScratchError:
    return FromScratchError(f"{plan.source}: the plan does not hold at `{name}`: {why}", "print it with --plan")
