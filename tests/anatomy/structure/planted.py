"""Decoders whose weights have what training leaves in them, planted: made in a moment, and known to the last unit.

D model width · F inner width of the MLP · H query heads · G key/value heads · K head width
"""

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.structure.roles import RotaryLayout

__all__ = ["LAYERS", "VOCABULARY", "D", "F", "G", "H", "K", "planted_llama", "shuffled"]

Arrays = dict[str, NDArray[np.float32]]

LAYERS, D, F, H, G, K, VOCABULARY = 8, 96, 176, 6, 2, 16, 300


def planted_llama(layout: RotaryLayout | None = "half_split", seed: int = 0) -> Arrays:
    """By Llama's names. Units that work together point alike, up and down are as long unit by unit, queries mix the
    two numbers of a key's pair, neighbouring layers use like parts of the stream, outputs grow with depth."""
    random = np.random.default_rng(seed)
    phase_D = random.uniform(0, 2 * np.pi, D)
    arrays = {"model.embed_tokens.weight": random.normal(size=(VOCABULARY, D)), "model.norm.weight": 3 * np.ones(D)}
    arrays["lm_head.weight"] = random.normal(size=(VOCABULARY, D)) + random.normal(size=D)
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."
        use_D = np.exp(1.2 * np.cos(np.pi * layer / LAYERS + phase_D))
        arrays |= {f"{name}mlp.{part}_proj.weight": each for part, each in _mlp(random, use_D).items()}
        arrays |= {
            f"{name}self_attn.{part}_proj.weight": each
            for part, each in _attention(random, use_D, layer, layout).items()
        }
        for norm in ("input_layernorm", "post_attention_layernorm"):
            arrays[f"{name}{norm}.weight"] = random.uniform(0.5, 1.5, D)
    return {name: np.ascontiguousarray(each, np.float32) for name, each in arrays.items()}


def _rows(random: np.random.Generator, count: int, use_D: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(random.normal(size=(count, D)) * use_D)


def _mlp(random: np.random.Generator, use_D: NDArray[np.float64]) -> Arrays:
    shared_FD, length_F1 = _rows(random, F, use_D), np.exp(random.normal(size=(F, 1)))
    return {
        "up": length_F1 * (shared_FD + 0.7 * _rows(random, F, use_D)),
        "gate": np.exp(random.normal(size=(F, 1))) * (0.6 * shared_FD + _rows(random, F, use_D)),
        "down": (length_F1 * (shared_FD + 0.7 * _rows(random, F, use_D))).T,
    }


def _attention(
    random: np.random.Generator, use_D: NDArray[np.float64], layer: int, layout: RotaryLayout | None
) -> Arrays:
    value_GKD, key_GKD = (_rows(random, G * K, use_D).reshape(G, K, D) for _ in range(2))
    unit_K = np.arange(K)
    partner_K = unit_K ^ 1 if layout == "interleaved" else (unit_K + K // 2) % K
    angle_HK1 = random.uniform(0, 2 * np.pi, (H, K, 1)) if layout else np.zeros((H, K, 1))
    key_HKD, value_HKD = (np.repeat(each, H // G, 0) for each in (key_GKD, value_GKD))
    query_HKD = np.cos(angle_HK1) * key_HKD + np.sin(angle_HK1) * key_HKD[:, partner_K]
    mixed_HKK = 0.25 * random.normal(size=(H, K, K))  # within a head all numbers meet a little
    output_HKD = value_HKD + mixed_HKK @ value_HKD
    common_HKD = 0.8 * _rows(random, H * K, use_D).reshape(H, K, D)
    return {
        "q": (query_HKD + mixed_HKK @ key_HKD + common_HKD).reshape(-1, D),
        "k": key_GKD.reshape(-1, D),
        "v": value_GKD.reshape(-1, D),
        "o": ((output_HKD + common_HKD).reshape(-1, D) * (1 + layer)).T,
    }


def shuffled(arrays: Arrays, seed: int = 0) -> tuple[Arrays, dict[str, str]]:
    """The same tensors in another order under names that say nothing, and what they were called."""
    order = np.random.default_rng(seed).permutation(len(arrays))
    names = list(arrays)
    truth = {f"tensor_{index}": names[each] for index, each in enumerate(order)}
    return {opaque: arrays[name] for opaque, name in truth.items()}, truth
