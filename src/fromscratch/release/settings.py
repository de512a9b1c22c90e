"""Settings of the release: what the model is called, under which licence, and how it should answer by default."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from fromscratch.core.settings import Settings, refuse

__all__ = ["BUNDLED_LICENSE", "GenerationDefaults", "ReleaseSettings"]

BUNDLED_LICENSE = "Apache-2.0"  # the one licence whose text comes with this package

LanguageCode = Annotated[str, Field(pattern="^[a-z]{2,3}$")]


class GenerationDefaults(Settings):
    """What `generation_config.json` tells every engine that loads the model; a caller may override each."""

    temperature: float = Field(default=0.7, ge=0, le=2)
    """Divides the logits before sampling; 0 takes the likeliest token each time."""

    top_p: float = Field(default=0.9, gt=0, le=1)
    """Sample among the likeliest tokens that together have this probability."""

    max_new_tokens: int = Field(default=256, gt=0)
    """An answer that has not ended by itself is cut after this many tokens, or half of the context if that is less."""

    repetition_penalty: float = Field(default=1.1, ge=1, le=2)
    """Logits of tokens that occurred are divided (or, when negative, multiplied) by this; 1 leaves them as they are."""


class ReleaseSettings(Settings):
    """The released model."""

    model_name: str = Field(default="", max_length=96, pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$")
    """Name in the model card, in letters, digits, `.`, `_` and `-`; the recipe's name when empty."""

    description: str = ""
    """A sentence or two for the head of the model card."""

    license: str = Field(default=BUNDLED_LICENSE, pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]*$")
    """SPDX identifier of the licence of the weights."""

    license_text: str | None = None
    """Full text of that licence; needed for every licence but Apache-2.0, whose text is at hand."""

    languages: tuple[LanguageCode, ...] = ("en", "zh")
    """Languages that the card claims, as ISO 639 codes."""

    generation: GenerationDefaults = GenerationDefaults()
    """How the model answers unless the caller says otherwise."""

    max_shard_megabytes: float = Field(default=4000, gt=0)
    """Weights are split into files of at most this size (10^6 bytes); one tensor is never split."""

    least_ended_share: float = Field(default=0.5, ge=0, le=1)
    """A gate: at least this share of sample answers must end with `<|im_end|>` by themselves."""

    @model_validator(mode="after")
    def _has_a_licence_text(self) -> Self:
        if self.license != BUNDLED_LICENSE and not self.license_text:
            refuse(
                f"`@license` = {self.license!r} has no text",
                'give it in full as license_text = """…""", or use "Apache-2.0"',
            )
        return self
