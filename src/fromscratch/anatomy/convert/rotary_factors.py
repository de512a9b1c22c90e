"""What Llama 3.1's scaling divides each rotary frequency by, as GGUF stores it, and the way back."""

import math
from collections.abc import Sequence

from fromscratch.model.settings import Llama3Scaling

__all__ = ["known_llama3_scaling", "llama3_factors"]

PUBLISHED = (  # factor, original context, low, high: Llama 3.1, 3.2
    (8.0, 8192, 1.0, 4.0),
    (32.0, 8192, 1.0, 4.0),
)


def llama3_factors(base: float, head_width: int, scaling: Llama3Scaling) -> tuple[float, ...]:
    """One factor of each pair of a head (arXiv 2407.21783, section 3.4.2; the rule is in Meta's code)."""
    factors = []
    for pair in range(head_width // 2):
        turns = scaling.original_context_tokens / (2 * math.pi * base ** (2 * pair / head_width))
        low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
        kept = min(1.0, max(0.0, (turns - low) / (high - low)))
        factors.append(1 / (kept + (1 - kept) / scaling.factor))
    return tuple(factors)


def known_llama3_scaling(base: float, head_width: int, factors: Sequence[float]) -> Llama3Scaling | None:
    """The published scaling that these factors are of, or None: the numbers behind them are not in the file."""
    for factor, original, low, high in PUBLISHED:
        scaling = Llama3Scaling(
            factor=factor, original_context_tokens=original, low_frequency_factor=low, high_frequency_factor=high
        )
        expected = llama3_factors(base, head_width, scaling)
        if len(expected) == len(factors) and all(
            math.isclose(one, other, rel_tol=1e-5) for one, other in zip(expected, factors, strict=True)
        ):
            return scaling
    return None
