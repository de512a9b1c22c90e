"""Saving the state of a run and finding it again, with a ledger line for everything that happens."""

from dataclasses import dataclass
from pathlib import Path

from fromscratch.checkpoint.background import BackgroundSaver, Saved
from fromscratch.checkpoint.store import Damage, newest_checkpoint, remove_old_checkpoints
from fromscratch.core.ledger import Ledger
from fromscratch.core.progress import say
from fromscratch.parallel.mesh import ALONE, Ranks
from fromscratch.train.loop import Position
from fromscratch.train.state import TrainState

__all__ = ["Recovery"]


@dataclass
class Recovery:
    """Where the checkpoints of one stage lie and how many are kept. They are written while training goes on."""

    folder: Path
    stage: str
    ledger: Ledger
    keep: int
    position: Position
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        self._saver = BackgroundSaver(self.folder, self.ranks.saving)

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
        """Begin a checkpoint of this moment. A disk that refuses costs only this one: training goes on, and the next
        one is tried."""
        self._tell(self._saver.begin(state.step, state.tensors(), state.facts()))

    def look(self) -> None:
        """Put on record what has ended meanwhile; to be called after each step."""
        self._tell(self._saver.result())

    def finish(self) -> None:
        """Wait for the checkpoint under way."""
        self._tell(self._saver.finish())

    def _tell(self, saved: Saved | None) -> None:
        if saved is None:
            return
        waited = round(saved.waited_seconds, 4)
        if saved.checkpoint is None:
            why = str(saved.failure)
            self._say(f"warning: {self.stage}: no checkpoint at step {saved.step:,}, and training goes on: {why}")
            self.ledger.append(
                "checkpoint_failed", stage=self.stage, step=saved.step, reason=why, waited_seconds=waited
            )
            return
        if self.ranks.number == 0:
            remove_old_checkpoints(self.folder, self.keep)
        self.ledger.append(
            "checkpoint",
            stage=self.stage,
            step=saved.step,
            tokens=saved.facts["tokens"],
            digest=saved.checkpoint.digest,
            position=dict(self.position(saved.step)),
            waited_seconds=waited,
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
