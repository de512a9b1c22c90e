"""What is measured, on how much held-out text, and how it is scored."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from fromscratch.core.settings import Settings

__all__ = ["EvaluateSettings", "Scoring"]

Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
QUESTIONS_PER_LANGUAGE = 40  # how many there are in questions.py; a test holds the two equal


class Scoring(Settings):
    """How a model reads a text whose probability is asked for."""

    window_tokens: int | None = Field(default=None, gt=1)
    """Tokens that the model sees at once; its own context when absent or when that is shorter."""

    overlap: float = Field(default=0.25, gt=0, lt=1)
    """Share of each later window of a long document that repeats the window before, as context that is not scored."""

    batch_tokens: int = Field(default=4_096, gt=0)
    """Tokens per batch, padding included. Bounds memory and changes no score beyond rounding."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Type of the matrix products; `bf16` is faster where the processor has it."""


class EvaluateSettings(Settings):
    """Bits per byte on held-out documents beside baselines, and what the tuned model answers."""

    tokens_per_group: int | None = Field(default=40_000, gt=0)
    """Held-out documents of each group are drawn until they hold so many tokens; all are scored when absent."""

    scoring: Scoring = Scoring()
    """How a model reads a text whose probability is asked for."""

    questions_per_language: int = Field(default=QUESTIONS_PER_LANGUAGE, gt=0, le=QUESTIONS_PER_LANGUAGE)
    """Questions, in English and in Chinese each, of which it is noted whether the answer is in their language."""

    answer_tokens: int = Field(default=48, gt=0)
    """Tokens of an answer at most."""

    sample_prompts: tuple[Prompt, ...] = (
        "What is a river?",
        "Hello, how are you?",
        "Who wrote Hamlet?",
        "Tell me a joke.",
        "你好！",
        "“画蛇添足”是什么意思？",
        "你喜欢吃什么？",
        "曹操是谁？",
    )
    """Prompts whose greedy answers are shown in the report."""
