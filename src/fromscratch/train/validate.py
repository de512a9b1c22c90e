"""The loss on held-out tokens of each group while a model trains, which leaves no trace in the training.

N window · T position · B windows at once
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from fromscratch.core.errors import FromScratchError
from fromscratch.model.decoder import Decoder
from fromscratch.model.loss import IGNORED
from fromscratch.parallel.mesh import ALONE, Ranks
from fromscratch.tokens.heldout import heldout_windows
from fromscratch.train.loop import accumulate_gradients
from fromscratch.train.settings import LoopSettings, PretrainSettings

__all__ = ["Validation", "open_validation"]


@dataclass(frozen=True)
class Validation:
    """What is looked at, and how often."""

    every_steps: int
    windows: Mapping[str, Tensor]
    """By group, int64 [N, T + 1]; -1 where there is nothing."""

    def is_due(self, step: int, steps: int) -> bool:
        """Whether it is time after ``step``: at every so many, and after the last."""
        return step % self.every_steps == 0 or step == steps

    @torch.no_grad()
    def losses(self, model: Decoder, settings: LoopSettings, ranks: Ranks = ALONE) -> dict[str, float]:
        """Mean cross-entropy in nats per token of each group. All of ``ranks`` call this together."""
        data = ranks.layout.data
        at_once = data * (settings.micro_batch_sequences or settings.batch_sequences // data)
        plain = settings.model_copy(update={"z_loss": 0.0})
        found = {}
        for group, tokens_NT in self.windows.items():
            whole_NT = functional.pad(tokens_NT, (0, 0, 0, -len(tokens_NT) % at_once), value=-1)
            scored = int((tokens_NT[:, 1:] >= 0).sum())
            loss = torch.zeros(())
            for part_BT in torch.split(whole_NT, at_once):  # all of one shape, as in training
                targets_BT = part_BT[:, 1:].where(part_BT[:, 1:] >= 0, IGNORED)
                loss = loss + accumulate_gradients(
                    model, part_BT[:, :-1].clamp(min=0), targets_BT, scored, plain, ranks
                )
            found[group] = loss.item()
        return found


def open_validation(tokens_folder: Path, settings: PretrainSettings) -> Validation | None:
    """The held-out tokens that the settings ask for; None if they ask for none. Raises FromScratchError when the
    corpus holds nothing out."""
    if settings.validate_every_steps is None:
        return None
    windows = heldout_windows(tokens_folder, settings.sequence_tokens, settings.validate_tokens)
    if not windows:
        raise FromScratchError(
            f"`pretrain.validate_every_steps` = {settings.validate_every_steps}, and {tokens_folder} holds nothing out",
            "hold documents out with `corpus.heldout.share`, or leave it out",
        )
    return Validation(settings.validate_every_steps, {group: torch.from_numpy(each) for group, each in windows.items()})
