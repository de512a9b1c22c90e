"""How a base model is tuned for chat: on which dialogues, how long, and what it is asked afterwards."""

from collections.abc import Collection

from pydantic import Field

from fromscratch.chat.dialogue_sources import DerivedDialogues, DialogueSource
from fromscratch.core.settings import did_you_mean, refuse
from fromscratch.optim.settings import AdamW, Linear, Optimizer, Schedule
from fromscratch.train.settings import LoopSettings

__all__ = ["TuneSettings", "refuse_unknown_places"]


class TuneSettings(LoopSettings):
    """Chat tuning: supervised, on whole conversations in ChatML, with the loss on responses alone."""

    dialogues: dict[str, DialogueSource] = Field(min_length=1, max_length=32)
    """Where conversations come from, by a name of your choice."""

    sequence_tokens: int = Field(default=512, gt=8)
    """Tokens of a conversation at most. A longer one loses its last turns, whole; none is cut within an answer."""

    joined_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the conversations that come as later turns of one, two or three others drawn with them, as far as they
    fit: where most dialogues are one question and answer, it teaches to answer the last message of a longer talk."""

    optimizer: Optimizer = AdamW(peak_learning_rate=1e-3, weight_decay=0.0)
    """How gradients change the weights."""

    schedule: Schedule = Linear()
    """How the learning rate moves over the steps."""

    neftune_alpha: float | None = Field(default=None, gt=0)
    """Size of the noise added to embeddings while tuning (NEFTune, arXiv:2310.05914; Yi took 5 for 6B); none when
    absent."""

    sample_prompts: tuple[str, ...] = ("What is a computer?", "Tell me a joke.", "你是谁？", "画蛇添足是什么意思？")
    """What the tuned model is asked at the end; its likeliest answers go into samples.json."""

    sample_tokens: int = Field(default=96, gt=0)
    """Tokens of such an answer at most."""


def refuse_unknown_places(packages: Collection[str], sources: Collection[str], tune: TuneSettings) -> None:
    """For a validator of the recipe: refuse dialogues of a package or corpus source that the recipe does not name."""
    for name, dialogues in tune.dialogues.items():
        if isinstance(dialogues, DerivedDialogues):
            known, key, asked = sources, "source", dialogues.source
        elif dialogues.package is not None:
            known, key, asked = packages, "package", dialogues.package
        else:
            continue
        if asked not in known:
            what = "a package" if key == "package" else "a source of the corpus"
            refuse(
                f"`@tune.dialogues.{name}.{key}` = {asked!r} is not {what} of this recipe",
                did_you_mean(asked, list(known)),
            )
