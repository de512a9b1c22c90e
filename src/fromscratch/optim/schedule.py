"""The learning rate's share of its peak, a pure function of the step."""

import math

from fromscratch.optim.settings import Constant, Cosine, Linear, Schedule, WarmupStableDecay

__all__ = ["decay_steps", "learning_rate_share"]


def learning_rate_share(schedule: Schedule, step: int, steps: int) -> float:
    """The share of the peak for the step with number ``step``, counted from 0, of ``steps``.

    The first step of a warm-up has 1/warmup_steps and its last has 1. A decay starts from 1 and would reach its
    final share one step after the last, so that no step is taken at a learning rate of zero.
    """
    assert 0 <= step < steps, f"step {step} of {steps}"
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    match schedule:
        case Constant():
            return 1.0
        case Linear():
            left = 1 - _progress(step, schedule.warmup_steps, steps)
        case Cosine():
            left = (1 + math.cos(math.pi * _progress(step, schedule.warmup_steps, steps))) / 2
        case WarmupStableDecay():
            begins = max(schedule.warmup_steps, steps - decay_steps(schedule, steps))
            progress = _progress(step, begins, steps) if step >= begins else 0.0
            left = 1 - (math.sqrt(progress) if schedule.decay_shape == "one_minus_sqrt" else progress)
    return schedule.final_share + (1 - schedule.final_share) * left


def decay_steps(schedule: WarmupStableDecay, steps: int) -> int:
    """How many of ``steps`` the learning rate falls over: the share, rounded, and at least one."""
    return max(1, round(schedule.decay_share * steps))


def _progress(step: int, begins: int, ends: int) -> float:
    return (step - begins) / (ends - begins)
