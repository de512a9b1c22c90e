"""The plan that takes a checkpoint, whose tensors' roles are known, to the names and the layout of another project."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fromscratch.anatomy.convert.names import Names, target_names
from fromscratch.anatomy.convert.plan import (
    BLOCK_NUMBERS,
    WIDTHS,
    Output,
    Piece,
    Plan,
    Slice,
    Values,
    Zeros,
    check_plan,
    nbytes,
    rows_and_columns,
)
from fromscratch.anatomy.convert.rotary_factors import llama3_factors
from fromscratch.anatomy.convert.safetensors_file import WEIGHTS, shard_names
from fromscratch.anatomy.structure.roles import Part, Role, RotaryLayout, Structure
from fromscratch.anatomy.tensors import Checkpoint, StoredTensor
from fromscratch.core.errors import FromScratchError
from fromscratch.model.settings import DecoderSettings, Llama3Scaling, RotaryPositions

__all__ = ["Decided", "gguf_architecture", "make_plan"]

Place = tuple[Role, int | None]
"""What a tensor does, and in which layer."""

NOT_WRITTEN = {
    Role.ROTARY_FREQUENCIES: "follows from the settings, as every program computes it",
    Role.CAUSAL_MASK: "a mask that every program makes anew",
}
TURNED = (Role.QUERY, Role.KEY, Role.QUERY_BIAS, Role.KEY_BIAS, Role.QUERY_NORM, Role.KEY_NORM)
QUERIES = (Role.QUERY, Role.KEY, Role.VALUE)
QUERY_BIASES = (Role.QUERY_BIAS, Role.KEY_BIAS, Role.VALUE_BIAS)
STACKED = (*QUERIES, *QUERY_BIASES)
SHARD_BYTES = 5_000_000_000
SECOND_COPY = "a second copy of the embedding, which the head is"
SET_ASIDE = "a head of its own, which was asked to be the embedding"


@dataclass(frozen=True)
class Decided:
    """What is known before a plan is made: the decoder, and what was asked for."""

    settings: DecoderSettings
    vocabulary: int
    target: str
    layout: RotaryLayout = "half_split"
    """Which numbers of a head the source's code turns together."""
    kind: str | None = None
    """How numbers are to be stored; None leaves them as they are where the target can hold that."""
    max_shard_bytes: int | None = None
    """Of one file. None keeps the source's files where tensors are only renamed, and is 5 GB where they are not."""


def make_plan(checkpoint: Checkpoint, structure: Structure, decided: Decided, remarks: Sequence[str] = ()) -> Plan:
    """The checked plan. Raises FromScratchError where roles are unknown, or shapes are not those of the settings."""
    settings = decided.settings
    if unknown := [part.name for part in structure.parts.values() if part.role == Role.UNKNOWN]:
        raise FromScratchError(
            f"{checkpoint.place}: nothing is known of the tensor `{unknown[0]}`"
            + (f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""),
            "`fromscratch inspect MODEL` shows what was recognised; only decoders on the four axes are converted",
        )
    dropped = {part.name: NOT_WRITTEN[part.role] for part in structure.parts.values() if part.role in NOT_WRITTEN}
    sources = _separated(checkpoint, structure, settings)
    if settings.head == "tied" and (Role.HEAD, None) in sources:
        dropped[sources.pop((Role.HEAD, None))[0].input] = SECOND_COPY if structure.tied else SET_ASIDE
    names = target_names(decided.target, gguf_architecture(settings))
    repeated = _fit_to(names, decided, sources)
    laid: dict[Place, tuple[Piece, ...]] = {**sources, **_zero_biases(sources, decided)}
    _check_shapes(checkpoint, laid, settings, decided)
    made = _outputs(checkpoint, laid, names, decided)
    outputs = _in_files(checkpoint, made, decided)
    plan = Plan(checkpoint.place, checkpoint.format, decided.target, outputs, dropped, repeated, tuple(remarks))
    if decided.max_shard_bytes is None and decided.target in ("llama", "yi"):
        plan = _as_sharded(plan, checkpoint)
    check_plan(plan, checkpoint)
    return plan


def gguf_architecture(settings: DecoderSettings) -> str:
    """What llama.cpp calls a decoder like this one."""
    if settings.positions.kind == "learned":
        return "gpt2"
    if settings.qk_norm == "head":
        return "qwen3"
    return "qwen2" if settings.biases == "query_key_value" else "llama"


def _separated(
    checkpoint: Checkpoint, structure: Structure, settings: DecoderSettings
) -> dict[Place, tuple[Slice, ...]]:
    """Where each role is found, fused ones taken apart, in the order of the disk."""
    found: dict[Place, tuple[Slice, ...]] = {}
    parts = [part for part in structure.parts.values() if part.role not in NOT_WRITTEN]
    by_disk = sorted(parts, key=lambda part: _place_on_disk(checkpoint.tensors[part.name]))
    for part in by_disk:
        for role, cut in _cut(part, checkpoint.tensors[part.name], settings):
            if (role, part.layer) in found:
                raise FromScratchError(
                    f"{checkpoint.place}: `{part.name}` and `{found[role, part.layer][0].input}` are both {role}",
                    "its tensors are of more than one model; keep those of one in the folder",
                )
            found[role, part.layer] = cut
    return found


def _place_on_disk(tensor: StoredTensor) -> tuple[str, int]:
    return tensor.file, tensor.offset


def _cut(part: Part, tensor: StoredTensor, settings: DecoderSettings) -> list[tuple[Role, tuple[Slice, ...]]]:
    """The roles that one tensor holds, each with its slices."""
    head, groups, shared = settings.key_width, settings.kv_heads, settings.heads // settings.kv_heads
    ffn = settings.ffn_width
    fused: Mapping[Role, tuple[int, dict[Role, int]]] = {
        Role.QUERY_KEY_VALUE: (groups, {Role.QUERY: shared * head, Role.KEY: head, Role.VALUE: head}),
        Role.KEY_VALUE: (groups, {Role.KEY: head, Role.VALUE: head}),
        Role.GATE_UP: (ffn, {Role.GATE: 1, Role.UP: 1}),
    }
    fused = {**fused, **{role.bias: (n, {each.bias: w for each, w in of.items()}) for role, (n, of) in fused.items()}}
    turned = part.transposed and len(tensor.shape) == 2
    length, across = rows_and_columns(tensor.shape)[:: -1 if turned else 1]
    if part.role not in fused:
        return [(part.role, (_rectangle(part.name, 0, length, across, turned),))]
    count, widths = fused[part.role]
    if part.order == "stacked":
        count, widths = 1, {role: width * count for role, width in widths.items()}
    cuts: dict[Role, list[Slice]] = {role: [] for role in widths}
    begin = 0
    for _ in range(count):
        for role, width in widths.items():
            cuts[role].append(_rectangle(part.name, begin, begin + width, across, turned))
            begin += width
    return [(role, tuple(slices)) for role, slices in cuts.items()]


def _rectangle(name: str, begin: int, end: int, across: int, turned: bool) -> Slice:
    return Slice(name, (0, across), (begin, end), True) if turned else Slice(name, (begin, end), (0, across))


def _fit_to(names: Names, decided: Decided, sources: dict[Place, tuple[Slice, ...]]) -> dict[str, str]:
    """Give the target what it stores and the source does not. Returns what is repeated, with the reason."""
    if decided.target == "litgpt" and (Role.HEAD, None) not in sources:
        embedding = sources[Role.EMBEDDING, None]
        sources[Role.HEAD, None] = embedding
        return {embedding[0].input: "LitGPT keeps a head of its own, which here equals the embedding"}
    missing = {role for role, _ in sources} - set(names.of_role) - set(STACKED if names.stacked else ())
    if missing:
        beyond = sorted(role.value.replace("_", " ") for role in missing)
        raise FromScratchError(
            f"the names of {decided.target} have none for: {', '.join(beyond)}", "use --to native, which has them all"
        )
    return {}


def _zero_biases(sources: Mapping[Place, tuple[Slice, ...]], decided: Decided) -> dict[Place, tuple[Zeros]]:
    """Biases that the source has not and the target asks for: zeros change nothing.

    Llama's config has one switch for the biases of all four maps of attention, where Qwen2 has three; ours has one for
    these and the MLP's.
    """
    asked: tuple[Role, ...] = ()
    if decided.settings.biases == "all":
        asked = BIASED
    elif decided.settings.biases == "query_key_value" and decided.target in ("llama", "yi"):
        asked = (Role.ATTENTION_OUTPUT,)
    return {
        (role.bias, layer): (Zeros((sum(each.shape[0] for each in slices), 1)),)
        for (role, layer), slices in sources.items()
        if role in asked and (role.bias, layer) not in sources
    }


def _check_shapes(
    checkpoint: Checkpoint, sources: Mapping[Place, Sequence[Piece]], settings: DecoderSettings, decided: Decided
) -> None:
    """Refuse tensors that are missing, superfluous or of another shape than the settings ask for."""
    expected = _shapes(settings, decided.vocabulary)
    if settings.biases == "query_key_value" and decided.target in ("llama", "yi"):
        expected |= {(Role.ATTENTION_OUTPUT_BIAS, layer): (settings.width,) for layer in range(settings.layers)}
    for place in [*expected, *sources]:
        slices = sources.get(place)
        found = [sum(each.shape[0] for each in slices), slices[0].shape[1]] if slices else "missing"
        needed = list(rows_and_columns(expected[place])) if place in expected else "no such tensor"
        if found != needed and not (place[0] == Role.HEAD and settings.head == "tied"):
            layer = "" if place[1] is None else f" of layer {place[1]}"
            name = f", `{slices[0].input}`," if slices and isinstance(slices[0], Slice) else ""
            raise FromScratchError(
                f"{checkpoint.place}: the {place[0].value.replace('_', ' ')}{layer}{name} is {found}, where its "
                f"settings ask for {needed}",
                "weights and config are of different models; use those that belong together, or --set what is wrong",
            )


def _shapes(settings: DecoderSettings, vocabulary: int) -> dict[Place, tuple[int, ...]]:
    """The shape of every tensor that such a decoder has, (out, in)."""
    width, queries, keys, ffn = settings.width, settings.query_width, settings.kv_width, settings.ffn_width
    layer: dict[Role, tuple[int, ...]] = {Role.ATTENTION_NORM: (width,), Role.MLP_NORM: (width,)}
    layer |= {Role.QUERY: (queries, width), Role.KEY: (keys, width), Role.VALUE: (keys, width)}
    layer |= {Role.ATTENTION_OUTPUT: (width, queries), Role.UP: (ffn, width), Role.DOWN: (width, ffn)}
    if settings.is_gated:
        layer[Role.GATE] = (ffn, width)
    if settings.qk_norm == "head":
        layer |= {Role.QUERY_NORM: (settings.key_width,), Role.KEY_NORM: (settings.key_width,)}
    if settings.norm_placement == "sandwich":
        layer |= {Role.POST_ATTENTION_NORM: (width,), Role.POST_MLP_NORM: (width,)}
    outside: dict[Role, tuple[int, ...]] = {Role.EMBEDDING: (vocabulary, width)}
    if settings.norm_placement != "post":
        outside[Role.FINAL_NORM] = (width,)
    if settings.positions.kind == "learned":
        outside[Role.POSITION_EMBEDDING] = (settings.context_tokens, width)
    if settings.head == "untied":
        outside[Role.HEAD] = (vocabulary, width)
    biased = {"none": (), "query_key_value": BIASED[:3], "all": BIASED}[settings.biases]
    norms = [role for role in (*layer, *outside) if role.value.endswith("norm")] if settings.norm == "layer" else []
    for roles in (layer, outside):
        roles |= {role.bias: shape[:1] for role, shape in roles.items() if role in biased or role in norms}
    shapes: dict[Place, tuple[int, ...]] = {(role, None): shape for role, shape in outside.items()}
    return shapes | {(role, index): shape for index in range(settings.layers) for role, shape in layer.items()}


BIASED = (Role.QUERY, Role.KEY, Role.VALUE, Role.ATTENTION_OUTPUT, Role.GATE, Role.UP, Role.DOWN)


def _outputs(
    checkpoint: Checkpoint, sources: Mapping[Place, tuple[Piece, ...]], names: Names, decided: Decided
) -> list[Output]:
    """The outputs in the order of the source's disk."""
    laid = _laid_out(sources, names, decided)
    made: list[Output] = []
    for (role, layer), pieces in laid.items():
        if names.stacked and role in STACKED:
            kind = next(roles for roles in (QUERIES, QUERY_BIASES) if role in roles)
            if role != kind[0]:
                continue  # with the queries
            pieces = tuple(each for other in kind for each in laid[other, layer])
            role = Role.QUERY_KEY_VALUE_BIAS if kind is QUERY_BIASES else Role.QUERY_KEY_VALUE
        made.append(_output(checkpoint, names.of_role[role].format(layer), pieces, decided))
    return [*made, *_rotary_factors(decided)]


def _laid_out(
    sources: Mapping[Place, tuple[Piece, ...]], names: Names, decided: Decided
) -> dict[Place, tuple[Piece, ...]]:
    """The slices of each role, with the numbers of a head in the order in which the target turns them."""
    if decided.settings.positions.kind != "rotary" or decided.layout == names.layout:
        return dict(sources)
    return {
        (role, layer): tuple(_regrouped(each, decided.settings.key_width, names.layout) for each in pieces)
        if role in TURNED
        else pieces
        for (role, layer), pieces in sources.items()
    }


def _regrouped(piece: Piece, head_width: int, layout: str) -> Piece:
    if not isinstance(piece, Slice):
        return piece
    heads, half = piece.shape[0] // head_width, head_width // 2
    return replace(piece, regroup=(heads, 2, half) if layout == "interleaved" else (heads, half, 2))


def _output(checkpoint: Checkpoint, name: str, pieces: tuple[Piece, ...], decided: Decided) -> Output:
    tensors = [checkpoint.tensors[piece.input] for piece in pieces if isinstance(piece, Slice)]
    rows, columns = sum(piece.shape[0] for piece in pieces), pieces[0].shape[1]
    shape = (rows,) if all(len(tensor.shape) == 1 for tensor in tensors) else (rows, columns)
    stored = {tensor.kind for tensor in tensors or checkpoint.tensors.values()}
    return Output(name, WEIGHTS, shape, _kind(name, shape, stored, decided), pieces)


def _kind(name: str, shape: tuple[int, ...], stored: set[str], decided: Decided) -> str:
    """How one output is stored: as asked, or as it was, or in the nearest form that the target can hold."""
    kept = next(iter(stored)) if len(stored) == 1 else "F32"
    if decided.target != "gguf":
        floats = ("F32", "F16", "BF16", "F64") if decided.target == "litgpt" else tuple(WIDTHS)
        return decided.kind or (kept if kept in floats else "F32")
    if len(shape) == 1:
        return "F32"  # llama.cpp adds and multiplies vectors in F32 alone
    asked = decided.kind or kept
    if asked in ("Q4_0", "Q4_1") and decided.kind and name in ("token_embd.weight", "output.weight"):
        asked = "Q8_0"  # as llama.cpp, which keeps both ends finer
    if asked in ("Q4_0", "Q4_1", "Q8_0") and shape[-1] % BLOCK_NUMBERS:
        return "F16"
    if asked in ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0"):
        return asked
    return "F32"


def _rotary_factors(decided: Decided) -> list[Output]:
    """What llama.cpp divides the rotary frequencies by, for Llama 3.1's scaling: it reads them from the file."""
    settings = decided.settings
    positions = settings.positions
    if decided.target != "gguf" or not isinstance(positions, RotaryPositions):
        return []
    if not isinstance(positions.scaling, Llama3Scaling):
        return []
    factors = llama3_factors(positions.base, settings.key_width, positions.scaling)
    return [Output("rope_freqs.weight", WEIGHTS, (len(factors),), "F32", (Values(factors),))]


def _in_files(checkpoint: Checkpoint, outputs: Sequence[Output], decided: Decided) -> tuple[Output, ...]:
    if decided.target in ("gguf", "litgpt", "native"):
        file = {"gguf": f"{_stem(checkpoint.place)}.gguf", "litgpt": "lit_model.pth", "native": WEIGHTS}[decided.target]
        return tuple(replace(each, file=file) for each in outputs)
    files = shard_names([nbytes(each.shape, each.kind) for each in outputs], decided.max_shard_bytes or SHARD_BYTES)
    return tuple(replace(each, file=file) for each, file in zip(outputs, files, strict=True))


def _stem(place: str) -> str:
    name = place.rstrip("/").rsplit("/", 1)[-1]
    return name.removesuffix(".safetensors").removesuffix(".gguf") or "model"


def _as_sharded(plan: Plan, checkpoint: Checkpoint) -> Plan:
    """A pure rename keeps what lies in which file: each file is then its old bytes under a new header."""
    names = plan.renames(checkpoint)
    if names is None:
        return plan
    file_of = {new: checkpoint.tensors[old].file for old, new in names.items()}
    files = sorted(set(file_of.values()))
    numbered = {
        file: f"model-{number:05d}-of-{len(files):05d}.safetensors" if len(files) > 1 else WEIGHTS
        for number, file in enumerate(files, start=1)
    }
    return replace(plan, outputs=tuple(replace(each, file=numbered[file_of[each.name]]) for each in plan.outputs))
