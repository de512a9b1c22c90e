"""The stages of a run: which settings hold from which step to which."""

from dataclasses import dataclass

from fromscratch.model.decoder import Decoder
from fromscratch.model.settings import RotaryPositions
from fromscratch.optim.schedule import learning_rate_share
from fromscratch.optim.settings import Schedule
from fromscratch.train.settings import LoopSettings, PretrainSettings

__all__ = ["Stretch", "stretches"]


@dataclass(frozen=True)
class Stretch:
    """The steps from ``first`` to before ``end``, their settings, and the schedule of the steps ``schedule_steps``."""

    first: int
    end: int
    settings: LoopSettings
    schedule: Schedule
    schedule_steps: tuple[int, int]
    peak_share: float = 1.0
    rotary_base: float | None = None

    def learning_rate_share(self, step: int) -> float:
        """The share of the peak that the learning rate has in a step."""
        first, end = self.schedule_steps
        return self.peak_share * learning_rate_share(self.schedule, step - first, end - first)

    def enter(self, model: Decoder) -> None:
        """Give the model the base of rotary positions that it has from here on."""
        positions = model.settings.positions
        if self.rotary_base is not None and isinstance(positions, RotaryPositions):
            turned = positions.model_copy(update={"base": self.rotary_base})
            model.settings = model.settings.model_copy(update={"positions": turned})


def stretches(settings: LoopSettings) -> tuple[Stretch, ...]:
    """The stages of a run in order, a function of its settings alone: one, unless they name more."""
    whole = (0, settings.steps)
    if not isinstance(settings, PretrainSettings):
        return (Stretch(*whole, settings, settings.schedule, whole),)
    (steps, first), *later = settings.in_stages
    found = [Stretch(0, steps, first, settings.schedule, whole)]
    for stage, (steps, changed) in zip(settings.stages, later, strict=True):
        own = (found[-1].end, found[-1].end + steps)
        schedule, over = (settings.schedule, whole) if stage.schedule is None else (stage.schedule, own)
        found.append(Stretch(*own, changed, schedule, over, stage.peak_share, stage.rotary_base))
    return tuple(found)
