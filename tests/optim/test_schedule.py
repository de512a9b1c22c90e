"""The learning rate's share of its peak, step by step."""

import pytest

from fromscratch.optim.schedule import learning_rate_share
from fromscratch.optim.settings import Constant, Cosine, Linear, Schedule, WarmupStableDecay


def shares(schedule: Schedule, steps: int) -> list[float]:
    return [learning_rate_share(schedule, step, steps) for step in range(steps)]


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(warmup_steps=4),
        Linear(warmup_steps=4),
        Cosine(warmup_steps=4),
        WarmupStableDecay(warmup_steps=4),
    ],
    ids=lambda each: each.kind,
)
def test_a_warm_up_rises_in_a_straight_line_to_the_peak_from_more_than_nothing(schedule: Schedule) -> None:
    assert shares(schedule, 20)[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_linear_falls_from_the_peak_to_one_step_before_its_end() -> None:
    assert shares(Linear(), 4) == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert shares(Linear(final_share=0.2), 4) == pytest.approx([1.0, 0.8, 0.6, 0.4])


def test_cosine_passes_the_middle_half_way_and_ends_near_its_final_share() -> None:
    values = shares(Cosine(warmup_steps=2, final_share=0.1), 102)
    assert values[2] == pytest.approx(1.0)
    assert values[52] == pytest.approx(0.55)
    assert values[27] == pytest.approx(0.1 + 0.9 * (1 + 2**-0.5) / 2)
    assert 0.1 < values[-1] < 0.101


def test_warmup_stable_decay_is_flat_until_the_last_share_of_the_steps() -> None:
    assert shares(WarmupStableDecay(warmup_steps=2, decay_share=0.4), 10) == pytest.approx(
        [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    )
    rooted = shares(WarmupStableDecay(decay_share=0.4, decay_shape="one_minus_sqrt", final_share=0.1), 10)
    assert rooted[6:] == pytest.approx([1.0, 0.55, 0.1 + 0.9 * (1 - 0.5**0.5), 0.1 + 0.9 * (1 - 0.75**0.5)])


def test_no_schedule_takes_a_step_at_a_learning_rate_of_nothing() -> None:
    for schedule in (Linear(warmup_steps=3), Cosine(final_share=0.0), WarmupStableDecay(decay_share=1.0)):
        assert min(shares(schedule, 7)) > 0


def test_a_step_outside_the_run_is_a_broken_promise() -> None:
    with pytest.raises(AssertionError, match="step 10 of 10"):
        learning_rate_share(Constant(), 10, 10)
