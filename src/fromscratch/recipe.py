"""The whole recipe: the sections of every stage, read from one TOML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from fromscratch.chat.settings import TuneSettings, refuse_unknown_places
from fromscratch.core.recipe_file import load_recipe_tree
from fromscratch.core.settings import Settings, validate_settings
from fromscratch.core.workplace import Machine
from fromscratch.corpus.settings import CorpusSettings
from fromscratch.corpus.sources import Package, refuse_unknown_packages
from fromscratch.evaluate.settings import EvaluateSettings
from fromscratch.model.settings import DecoderSettings
from fromscratch.release.settings import ReleaseSettings
from fromscratch.tokenizer.settings import TokenizerSettings
from fromscratch.tokens.settings import TokensSettings
from fromscratch.train.settings import PretrainSettings

__all__ = ["Recipe", "load_recipe"]

Name = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Recipe(Settings):
    """Everything that decides what a run makes, and under `machine` how this machine goes about it."""

    name: Name
    """Name of the run; its folder is `runs/NAME` unless --run says otherwise."""

    seed: int = Field(default=0, ge=0)
    """Where every random choice starts: initial weights, data order, tuning order."""

    machine: Machine = Machine()
    """How the work is laid out here. Changing it makes nothing stale."""

    packages: dict[Name, Package] = Field(default_factory=dict)
    """Pinned files of a package index that sources may read, by a name of your choice."""

    corpus: CorpusSettings
    """Raw pages → clean documents."""

    tokenizer: TokenizerSettings = TokenizerSettings()
    """Documents → tokenizer."""

    tokens: TokensSettings = TokensSettings()
    """Documents → token shards."""

    model: DecoderSettings
    """Shape of the decoder."""

    pretrain: PretrainSettings
    """Token shards → base model."""

    tune: TuneSettings
    """Base model and dialogues → chat model."""

    evaluate: EvaluateSettings = EvaluateSettings()
    """How both models are scored."""

    release: ReleaseSettings = ReleaseSettings()
    """What is handed out, and under which licence."""

    @model_validator(mode="after")
    def _name_what_exists(self) -> Self:
        refuse_unknown_packages(self.packages, self.corpus.sources)
        refuse_unknown_packages(self.packages, self.corpus.examples, "corpus.examples")
        refuse_unknown_places(self.packages, self.corpus.sources, self.tune)
        return self


def load_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe file with its overrides (dotted path → value), validated once. Raises FromScratchError."""
    return validate_settings(Recipe, load_recipe_tree(path, overrides), str(path), overrides)
