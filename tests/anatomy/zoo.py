"""Everything that can be made of a trained model, with the truth about it that verdicts are held to.

V vocabulary · D model width · F inner width of the MLP · H query heads · G key/value heads · K head width
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.tensors import Checkpoint, StoredTensor, checkpoint_of_arrays
from fromscratch.model.llama_names import llama_config
from fromscratch.model.settings import DecoderSettings
from tests.anatomy.blocks import through_blocks
from tests.anatomy.trained import MODELS, NARROW, SHAPE, VOCABULARY, Arrays, trained_models

__all__ = ["DERIVED", "Derived", "Zoo", "make_zoo"]

Random = np.random.Generator
Models = Mapping[str, Arrays]

LAYERS, D, K = SHAPE.layers, SHAPE.width, SHAPE.key_width
MATRIX = re.compile(r"_proj|embed|lm_head")
TRANSFORMED = "identical up to a transform"


@dataclass(frozen=True)
class Derived:
    """What was made, and what is true of it."""

    arrays: Arrays
    parents: tuple[str, ...]
    """Models of the zoo. The verdict is about the first of them, and about all of them where models were merged."""
    weights: str
    """The relation of the verdict on the weights."""
    architecture: str = "same"
    transforms: frozenset[str] = frozenset()
    """Steps that the verdict has to list beside its relation."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Name here → the name that Llama has for it (Phi-3, where parts are fused), where it differs."""
    layer_map: tuple[int, ...] = tuple(range(LAYERS))
    """Layer of the parent that each layer was made of."""
    unit_maps: tuple[tuple[int, ...], ...] = ()
    """Unit of the parent's MLP that each unit was made of, for each layer; empty where none moved."""
    stream_map: tuple[int, ...] = ()
    """Number of the parent's residual stream that each number was made of; empty where none moved."""
    shares: tuple[float, ...] = ()
    """Of the parents in a merge."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """How tensors are stored, where it is not as arrays are."""
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rename(self) -> dict[str, str]:
        """Name here → name in the parent, of all tensors but those that are fused here."""
        return {name: self.names.get(name, name) for name in self.arrays if "qkv_proj" not in name}

    @property
    def checkpoint(self) -> Checkpoint:
        """As it would be opened."""
        made = checkpoint_of_arrays(self.arrays, self.config)
        tensors = {name: _stored_as(each, self.kinds.get(name, each.kind)) for name, each in made.tensors.items()}
        return Checkpoint(made.place, made.format, tensors, made.config)


def _stored_as(tensor: StoredTensor, kind: str) -> StoredTensor:
    """The same numbers said to be stored in another form, which they must have gone through before."""
    fields = {name: getattr(tensor, name) for name in tensor.__dataclass_fields__}
    return StoredTensor(**{**fields, "kind": kind})


@dataclass(frozen=True, eq=False)
class Zoo:
    """The trained models as arrays by Llama's names, and what is made of them."""

    models: Models = field(repr=False)

    def checkpoint(self, name: str) -> Checkpoint:
        """A trained model as it would be opened, with its config."""
        return checkpoint_of_arrays(self.models[name], config_of(MODELS[name].shape))

    def derived(self, name: str) -> Derived:
        """One of ``DERIVED``, made now; the same each time."""
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
        return DERIVED[name](self.models, np.random.default_rng(seed))


def make_zoo(folder: Path) -> Zoo:
    """The zoo over the models that ``folder`` keeps; they are trained if they are not there."""
    return Zoo(trained_models(folder))


def config_of(shape: DecoderSettings, vocabulary: int = VOCABULARY, **changes: Any) -> dict[str, Any]:
    """``config.json`` of a model of this shape."""
    return {**llama_config(shape, vocabulary, beginning_id=0, end_ids=[1], padding_id=None), **changes}


# ---- Names and layout: nothing is lost


def renamed_as_in_the_affair(models: Models, _random: Random) -> Derived:
    names = {_first_yi_name(name): name for name in models["base"]}
    config = config_of(SHAPE, model_type="Yi", architectures=["YiForCausalLM"])
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_yi.YiForCausalLM"}
    arrays = {_first_yi_name(name): each for name, each in models["base"].items()}
    return Derived(arrays, ("base",), TRANSFORMED, "same_up_to_renaming", frozenset({"renamed"}), names, config=config)


def _first_yi_name(name: str) -> str:
    return name.replace(".input_layernorm.", ".ln1.").replace(".post_attention_layernorm.", ".ln2.")


def random_names(models: Models, random: Random) -> Derived:
    arrays, names = at_random(models["base"], random)
    return Derived(arrays, ("base",), TRANSFORMED, "same_up_to_renaming", frozenset({"renamed"}), names)


def at_random(arrays: Arrays, random: Random) -> tuple[Arrays, dict[str, str]]:
    """The same tensors under names that mean nothing, in another order; and what they were called."""
    names = {random.bytes(6).hex(): str(name) for name in random.permutation(sorted(arrays))}
    return {name: arrays[was] for name, was in names.items()}, names


def fused(models: Models, _random: Random) -> Derived:
    return Derived(fuse(models["base"]), ("base",), TRANSFORMED, "same_up_to_renaming", frozenset({"fused"}))


def fuse(arrays: Arrays) -> Arrays:
    """Queries, keys and values in one tensor, gates and ups in another, as Phi-3 stores them."""
    made = {}
    for name, each in arrays.items():
        if ".q_proj." in name:
            parts = [arrays[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            made[name.replace("q_proj", "qkv_proj")] = np.concatenate(parts)
        elif ".gate_proj." in name:
            parts = [each, arrays[name.replace("gate_proj", "up_proj")]]
            made[name.replace("gate_proj", "gate_up_proj")] = np.concatenate(parts)
        elif not re.search(r"[kv]_proj|\.up_proj", name):
            made[name] = each
    return made


def transposed(models: Models, _random: Random) -> Derived:
    arrays = transpose(models["base"])
    return Derived(arrays, ("base",), TRANSFORMED, "same_up_to_renaming", frozenset({"transposed"}))


def transpose(arrays: Arrays) -> Arrays:
    """Matrices of the layers stored (in, out), as GPT-2's are."""
    return {name: each.T.copy() if "_proj" in name else each for name, each in arrays.items()}


def interleaved(models: Models, _random: Random) -> Derived:
    """As Meta's own files and GGUF have them: numbers that turn together lie side by side."""
    arrays = {
        name: _interleave(each) if re.search(r"[qk]_proj", name) else each for name, each in models["base"].items()
    }
    return Derived(arrays, ("base",), TRANSFORMED, transforms=frozenset({"rotary layout"}))


def _interleave(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows.reshape(-1, 2, K // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def shuffled(models: Models, random: Random) -> Derived:
    arrays, units = shuffle(models["base"], random)
    return Derived(
        arrays, ("base",), TRANSFORMED, transforms=frozenset({"heads permuted", "units permuted"}), unit_maps=units
    )


def shuffle(
    arrays: Arrays, random: Random, shape: DecoderSettings = SHAPE
) -> tuple[Arrays, tuple[tuple[int, ...], ...]]:
    """Heads within their groups, groups among each other, and units of the MLP in another order in each layer."""
    D, F, H, G, K = shape.width, shape.ffn_width, shape.heads, shape.kv_heads, shape.key_width
    made, units = dict(arrays), []
    for layer in range(shape.layers):
        groups = random.permutation(G)
        heads_H = np.concatenate([group * (H // G) + random.permutation(H // G) for group in groups])
        unit_F = random.permutation(F)
        units.append(tuple(unit_F.tolist()))
        for letter, order in (("q", heads_H), ("k", groups), ("v", groups)):
            name = f"model.layers.{layer}.self_attn.{letter}_proj.weight"
            made[name] = arrays[name].reshape(-1, K, D)[order].reshape(-1, D)
        name = f"model.layers.{layer}.self_attn.o_proj.weight"
        made[name] = arrays[name].reshape(D, -1, K)[:, heads_H].reshape(D, -1)
        made |= _with_units(made, layer, unit_F)
    return made, tuple(units)


def _with_units(arrays: Arrays, layer: int, units: NDArray[np.intp]) -> Arrays:
    """The MLP of a layer with these of its units."""
    prefix = f"model.layers.{layer}.mlp"
    made = {f"{prefix}.{name}_proj.weight": arrays[f"{prefix}.{name}_proj.weight"][units] for name in ("gate", "up")}
    return {**made, f"{prefix}.down_proj.weight": arrays[f"{prefix}.down_proj.weight"][:, units]}


def padded_vocabulary(models: Models, _random: Random) -> Derived:
    return _with_more_tokens(models["base"], np.zeros((64, D), np.float32))


def extended_vocabulary(models: Models, random: Random) -> Derived:
    return _with_more_tokens(models["base"], random.normal(0, 0.02, (5, D)).astype(np.float32))


def _with_more_tokens(arrays: Arrays, more_VD: NDArray[np.float32]) -> Derived:
    made = {
        name: np.concatenate([each, more_VD]) if re.search(r"embed|lm_head", name) else each
        for name, each in arrays.items()
    }
    config = config_of(SHAPE, VOCABULARY + len(more_VD))
    return Derived(made, ("base",), TRANSFORMED, "contained", frozenset({"vocabulary padded"}), config=config)


def head_stored_again(models: Models, _random: Random) -> Derived:
    """A tied model untied: the head is a copy of the embedding."""
    arrays = {**models["narrow"], "lm_head.weight": models["narrow"]["model.embed_tokens.weight"].copy()}
    return Derived(arrays, ("narrow",), TRANSFORMED, transforms=frozenset({"untied"}), config=config_of(NARROW))


def head_left_out(models: Models, _random: Random) -> Derived:
    """An untied model tied: the head it had is gone."""
    arrays = {name: each for name, each in models["base"].items() if name != "lm_head.weight"}
    return Derived(arrays, ("base",), TRANSFORMED, "different", frozenset({"tied"}))


# ---- Precision


def _cast(
    kind: str, through: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> Callable[[Models, Random], Derived]:
    """A derivation in which matrices go through a narrower form; norms stay as they are in the quantised ones."""

    def derive(models: Models, _random: Random) -> Derived:
        everything = kind in ("BF16", "F16")
        cast = [name for name in models["base"] if everything or MATRIX.search(name)]
        arrays = {name: through(each) if name in cast else each for name, each in models["base"].items()}
        kinds = dict.fromkeys(cast, kind)
        if everything:
            return Derived(arrays, ("base",), TRANSFORMED, transforms=frozenset({"cast"}), kinds=kinds)
        return Derived(arrays, ("base",), "quantised", kinds=kinds)

    return derive


def to_bf16(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounded to the nearest bf16, halves to even."""
    bits = np.ascontiguousarray(array).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


def to_int8(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row in 255 steps, symmetric, as LLM.int8() has it (arXiv 2208.07339), and back."""
    step = np.abs(array).max(1, keepdims=True) / 127
    return (np.round(array / step) * step).astype(np.float32)


def int8_with_scales(models: Models, _random: Random) -> Derived:
    """As bitsandbytes stores it: integers, and what the rows reach in a tensor beside them."""
    arrays: dict[str, Any] = {}
    for name, each in models["base"].items():
        if "_proj" not in name:
            arrays[name] = each
            continue
        reach = np.abs(each).max(1)
        arrays[name] = np.round(each / reach[:, None] * 127).astype(np.int8)
        arrays[name.replace(".weight", ".SCB")] = reach
    # What the tensors beside them are for is not known, so that the architecture is not called the same.
    return Derived(arrays, ("base",), "quantised", "undecided")


# ---- Trained further, and merged


def trained_on(name: str) -> Callable[[Models, Random], Derived]:
    """A model of the zoo that started from another one."""

    def derive(models: Models, _random: Random) -> Derived:
        verdict = "further pretrained" if name == "further" else "fine-tuned"
        return Derived(models[name], ("base",), verdict, config=config_of(SHAPE))

    return derive


def lora_merged(models: Models, _random: Random) -> Derived:
    """The part of rank 4 of what tuning changed in queries, values and ups, added to the base."""
    arrays = dict(models["base"])
    for name in arrays:
        if re.search(r"q_proj|v_proj|up_proj", name):
            left, size, right = np.linalg.svd(models["tuned"][name] - arrays[name], full_matrices=False)
            arrays[name] = (arrays[name] + (left[:, :4] * size[:4]) @ right[:4]).astype(np.float32)
    return Derived(arrays, ("base",), "low-rank update")


def linear_merge(models: Models, _random: Random) -> Derived:
    arrays = {name: 0.6 * each + 0.4 * models["tuned_on_poems"][name] for name, each in models["tuned"].items()}
    parents = ("tuned", "tuned_on_poems")
    return Derived(_single(arrays), parents, "merged", shares=(0.6, 0.4))


def spherical_merge(models: Models, _random: Random) -> Derived:
    """SLERP at one half, tensor by tensor (Shoemake 1985)."""
    arrays = {}
    for name, one in models["tuned"].items():
        other = models["further"][name]
        cosine = float(np.vdot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))
        angle = np.arccos(min(cosine, 1.0))
        weight = 0.5 if angle < 1e-4 else float(np.sin(angle / 2) / np.sin(angle))
        arrays[name] = weight * (one + other)
    return Derived(_single(arrays), ("tuned", "further"), "merged", shares=(0.5, 0.5))


def _single(arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    return {name: each.astype(np.float32) for name, each in arrays.items()}


# ---- Layers, units and numbers used again or left out


def depth_up_scaled(models: Models, _random: Random) -> Derived:
    """The middle layers twice, as in Yi-9B and SOLAR (arXiv 2312.15166)."""
    arrays, layers = stack(models["base"], (0, 1, 2, 1, 2, 3))
    return Derived(arrays, ("base",), "layers reused", "contained", layer_map=layers)


def stack(arrays: Arrays, layers: tuple[int, ...]) -> tuple[Arrays, tuple[int, ...]]:
    """A model of these layers of another one."""
    made = {name: each for name, each in arrays.items() if ".layers." not in name}
    for new, old in enumerate(layers):
        prefix = f"model.layers.{old}."
        names = [name for name in arrays if name.startswith(prefix)]
        made |= {f"model.layers.{new}.{name.removeprefix(prefix)}": arrays[name] for name in names}
    return made, layers


def pruned_in_depth(models: Models, _random: Random) -> Derived:
    arrays, layers = stack(models["base"], (0, 1, 3))
    return Derived(arrays, ("base",), "pruned", "contained", layer_map=layers)


def pruned_units(models: Models, _random: Random) -> Derived:
    arrays, units = prune_units(models["base"])
    return Derived(arrays, ("base",), "pruned", "contained", unit_maps=units)


def prune_units(arrays: Arrays, keep: int = 120) -> tuple[Arrays, tuple[tuple[int, ...], ...]]:
    """The units that write most to the stream, in the order they had."""
    made, maps = dict(arrays), []
    for layer in range(LAYERS):
        size_F = np.linalg.norm(arrays[f"model.layers.{layer}.mlp.down_proj.weight"], axis=0)
        kept = np.sort(np.argsort(-size_F)[:keep])
        maps.append(tuple(kept.tolist()))
        made |= _with_units(arrays, layer, kept)
    return made, tuple(maps)


def pruned_in_width(models: Models, _random: Random) -> Derived:
    """The numbers of the residual stream that the embedding uses most, as in Minitron (arXiv 2407.14679), and units."""
    arrays, units = prune_units(models["base"], keep=144)
    size_D = np.linalg.norm(arrays["model.embed_tokens.weight"], axis=0)
    kept = np.sort(np.argsort(-size_D)[:48])
    for name, each in arrays.items():
        writes = re.search(r"norm|o_proj|down_proj", name)
        arrays[name] = each[kept] if writes else each[:, kept]
    return Derived(arrays, ("base",), "pruned", "different", unit_maps=units, stream_map=tuple(kept.tolist()))


# ---- Chains of three


def tuned_pruned_quantised(models: Models, _random: Random) -> Derived:
    arrays, units = prune_units(models["tuned"])
    arrays = {name: through_blocks(each, "Q8_0") if MATRIX.search(name) else each for name, each in arrays.items()}
    kinds = {name: "Q8_0" for name in arrays if MATRIX.search(name)}
    return Derived(
        arrays, ("base",), "pruned", "contained", frozenset({"quantised", "fine-tuned"}), unit_maps=units, kinds=kinds
    )


def shuffled_fused_renamed(models: Models, random: Random) -> Derived:
    shuffled_arrays, units = shuffle(models["base"], random)
    arrays, names = at_random(fuse(shuffled_arrays), random)
    transforms = frozenset({"heads permuted", "units permuted", "fused", "renamed"})
    return Derived(arrays, ("base",), TRANSFORMED, "undecided", transforms, names, unit_maps=units)


def tuned_renamed_halved(models: Models, _random: Random) -> Derived:
    """What the affair was taken for at first: tuned, renamed, and stored in bf16."""
    names = {_first_yi_name(name): name for name in models["tuned"]}
    arrays = {name: to_bf16(models["tuned"][was]) for name, was in names.items()}
    kinds = dict.fromkeys(arrays, "BF16")
    return Derived(arrays, ("base",), "fine-tuned", "same_up_to_renaming", names=names, kinds=kinds)


def stacked_tuned_halved(models: Models, _random: Random) -> Derived:
    """Depth up-scaled after tuning, then stored in fp16."""
    arrays, layers = stack(models["tuned"], (0, 1, 2, 1, 2, 3))
    arrays = {name: each.astype(np.float16).astype(np.float32) for name, each in arrays.items()}
    kinds = dict.fromkeys(arrays, "F16")
    transforms = frozenset({"fine-tuned"})
    return Derived(arrays, ("base",), "layers reused", "contained", transforms, layer_map=layers, kinds=kinds)


def _by_name(makers: Iterable[Callable[[Models, Random], Derived]]) -> dict[str, Callable[[Models, Random], Derived]]:
    return {maker.__name__: maker for maker in makers}


DERIVED: dict[str, Callable[[Models, Random], Derived]] = {
    **_by_name((renamed_as_in_the_affair, random_names, fused, transposed, interleaved, shuffled)),
    **_by_name((padded_vocabulary, extended_vocabulary, head_stored_again, head_left_out)),
    "bf16": _cast("BF16", to_bf16),
    "fp16": _cast("F16", lambda array: array.astype(np.float16).astype(np.float32)),
    "int8": _cast("F32", to_int8),
    **_by_name((int8_with_scales,)),
    **{kind: _cast(kind, lambda array, kind=kind: through_blocks(array, kind)) for kind in ("Q8_0", "Q4_0", "Q4_1")},
    **{name: trained_on(name) for name in ("tuned", "further")},
    **_by_name((lora_merged, linear_merge, spherical_merge, depth_up_scaled)),
    **_by_name((pruned_in_depth, pruned_units, pruned_in_width)),
    **_by_name((tuned_pruned_quantised, shuffled_fused_renamed, tuned_renamed_halved, stacked_tuned_halved)),
}
