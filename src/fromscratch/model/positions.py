"""How a decoder tells positions apart: turned pairs, added vectors, or terms of the score that fall with the distance.

B batch · T position of a query · S position of a key · P = B, or 1 where all rows stand at the same positions
D model width · H query head · K head width · R distance
"""

import math

import torch
from torch import Tensor

from fromscratch.model.settings import (
    LinearScaling,
    Llama3Scaling,
    NtkScaling,
    RotaryPositions,
    YarnScaling,
)

__all__ = ["Rotation", "alibi_slopes", "at_distances", "rotation", "sinusoids", "turned", "unseen"]

Rotation = tuple[Tensor, Tensor]
"""Cosine and sine [P, T, 1, K] of the angle of each pair at each position, as ``turned`` takes them."""


def rotation(positions_PT: Tensor, head_width: int, rotary: RotaryPositions, dtype: torch.dtype) -> Rotation:
    """Rotary embedding (RoPE, arXiv 2104.09864): pair i turns by position · base^(-2i / head_width), where not scaled.

    Dimension i is paired with i + head_width / 2, as in ``LlamaForCausalLM`` (the paper pairs neighbours). Angles are
    fp32, as in every implementation that has to agree with ours.
    """
    exponent_K = (torch.arange(0, head_width, 2, device=positions_PT.device).float() / head_width).repeat(2)
    frequency_K, sharpness = _scaled(exponent_K, head_width, rotary)
    angle_PT1K = (positions_PT.unsqueeze(-1) * frequency_K).unsqueeze(-2)
    sign_K = torch.ones_like(frequency_K)
    sign_K[: head_width // 2] = -1
    if sharpness != 1:
        return (angle_PT1K.cos() * sharpness).to(dtype), (angle_PT1K.sin() * sign_K * sharpness).to(dtype)
    return angle_PT1K.cos().to(dtype), (angle_PT1K.sin() * sign_K).to(dtype)


def _scaled(exponent_K: Tensor, head_width: int, rotary: RotaryPositions) -> tuple[Tensor, float]:
    """Radians per position of each dimension, and what queries and keys are multiplied by."""
    frequency_K = 1.0 / rotary.base**exponent_K
    match rotary.scaling:
        case None:
            return frequency_K, 1.0
        case LinearScaling(factor=factor):
            return frequency_K / factor, 1.0
        case NtkScaling():
            return 1.0 / rotary.raised_base(head_width) ** exponent_K, 1.0
        case YarnScaling() as yarn:
            # The dimension whose pair turns so often within the original context; between the two lies the ramp.
            fast, slow = (
                head_width
                * math.log(yarn.original_context_tokens / (turns * 2 * math.pi))
                / (2 * math.log(rotary.base))
                for turns in (yarn.fast_turns, yarn.slow_turns)
            )
            first, last = max(math.floor(fast), 0), min(math.ceil(slow), head_width - 1)
            pair_K = torch.arange(head_width // 2, device=exponent_K.device).float().repeat(2)
            slow_K = ((pair_K - first) / max(last - first, 0.001)).clamp(0, 1)
            sharpness = 0.1 * math.log(yarn.factor) + 1
            return frequency_K / yarn.factor * slow_K + frequency_K * (1 - slow_K), sharpness
        case Llama3Scaling() as llama:
            turns_K = llama.original_context_tokens * frequency_K / (2 * math.pi)
            low, high = llama.low_frequency_factor, llama.high_frequency_factor
            fast_K = ((turns_K - low) / (high - low)).clamp(0, 1)
            return frequency_K * fast_K + frequency_K / llama.factor * (1 - fast_K), 1.0


def turned(x_BTHK: Tensor, turn: Rotation) -> Tensor:
    """Queries or keys turned by their position: (a, b) → (a cos - b sin, b cos + a sin) for each pair."""
    cos_PT1K, sin_PT1K = turn
    swapped_BTHK = x_BTHK.roll(x_BTHK.shape[-1] // 2, -1)
    return torch.addcmul(x_BTHK * cos_PT1K, swapped_BTHK, sin_PT1K)


def sinusoids(positions_PT: Tensor, width: int) -> Tensor:
    """Sines of width / 2 frequencies and then their cosines [P, T, D] (arXiv 1706.03762; the halves as in its code)."""
    exponents = torch.arange(0, width, 2, device=positions_PT.device).float() / width
    angles = positions_PT.unsqueeze(-1) * (1e-4**exponents)
    return torch.cat([angles.sin(), angles.cos()], -1)


def alibi_slopes(heads: int, device: torch.device) -> Tensor:
    """What a score loses per position of distance, for each head [H] (ALiBi, arXiv 2108.12409).

    2^(-8/n), 2^(-16/n), … for n heads, a power of two; for other numbers those of the next lower one, then every other
    slope of the next higher one, as the authors' code has it.
    """
    lower = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (head + 1) / lower) for head in range(lower)]
    slopes += [2 ** (-4 * (2 * head + 1) / lower) for head in range(heads - lower)]
    return torch.tensor(slopes, device=device)


def unseen(positions_PT: Tensor, keys: int, window_tokens: int | None) -> Tensor:
    """What is added to scores [P, 1, T, S]: 0 where a query sees a key, at or before it and within its window, else
    -inf."""
    distance_PTS = positions_PT.unsqueeze(-1) - torch.arange(keys, device=positions_PT.device)
    hidden_PTS = distance_PTS < 0
    if window_tokens is not None:
        hidden_PTS = hidden_PTS | (distance_PTS >= window_tokens)
    return torch.zeros(hidden_PTS.shape, device=hidden_PTS.device).masked_fill(hidden_PTS, -math.inf).unsqueeze(1)


def at_distances(score_BHTR: Tensor, positions_PT: Tensor, keys: int) -> Tensor:
    """Scores [B, H, T, S] of keys 0, 1, …, from scores by distance 0, 1, …; keys ahead get that of distance 0."""
    distance_PTS = (positions_PT.unsqueeze(-1) - torch.arange(keys, device=positions_PT.device)).clamp(min=0)
    return score_BHTR.gather(-1, distance_PTS.unsqueeze(1).expand(*score_BHTR.shape[:3], -1))
