"""Saving the state of a run and finding it again, with a ledger line for everything that happens."""

from dataclasses import dataclass
from pathlib import Path

from fromscratch.checkpoint.store import Damage, newest_checkpoint, remove_old_checkpoints, save_checkpoint
from fromscratch.core.ledger import Ledger
from fromscratch.core.progress import say
from fromscratch.parallel.mesh import ALONE, Ranks
from fromscratch.train.loop import Position
from fromscratch.train.state import TrainState

__all__ = ["Recovery"]


@dataclass(frozen=True)
class Recovery:
    """Where the checkpoints of one stage lie and how many are kept."""

    folder: Path
    stage: str
    ledger: Ledger
    keep: int
    position: Position
    ranks: Ranks = ALONE

    def resume(self, state: TrainState) -> None:
        """Take the newest sound checkpoint, if there is one; damaged ones are set aside and said so."""
        found = newest_checkpoint(self.folder, self._report_damage, self.ranks.control)
        if found is None:
            return
        state.restore(found.read_tensors(state.blanks(), self.ranks.control), found.facts)
        self.ledger.append(
            "resumed",
            stage=self.stage,
            step=state.step,
            tokens=state.tokens,
            checkpoint=found.digest,
            position=dict(self.position(state.step)),
        )

    def save(self, state: TrainState) -> None:
        """Write a checkpoint. A disk that refuses costs only this one: training goes on and tries at the next."""
        try:
            saved = save_checkpoint(self.folder, state.step, state.tensors(), state.facts(), self.ranks.control)
            if self.ranks.number == 0:
                remove_old_checkpoints(self.folder, self.keep)
        except OSError as error:
            self._say(f"warning: {self.stage}: no checkpoint at step {state.step:,}, and training goes on: {error}")
            self.ledger.append("checkpoint_failed", stage=self.stage, step=state.step, reason=str(error))
            return
        self.ledger.append(
            "checkpoint",
            stage=self.stage,
            step=state.step,
            tokens=state.tokens,
            digest=saved.digest,
            position=dict(self.position(state.step)),
        )
        self.ledger.sync()

    def _report_damage(self, damage: Damage) -> None:
        self._say(
            f"warning: {self.stage}: the checkpoint of step {damage.step:,} is damaged ({damage.reason}) and set aside"
        )
        self.ledger.append(
            "checkpoint_damaged",
            stage=self.stage,
            step=damage.step,
            reason=damage.reason,
            moved_to=damage.moved_to.name,
        )

    def _say(self, line: str) -> None:
        if self.ranks.number == 0:
            say(line)
