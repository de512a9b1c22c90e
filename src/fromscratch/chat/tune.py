"""The stage that tunes: base model and dialogues in, chat model out, with what it answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from fromscratch.chat.dialogues import Reading, read_dialogues
from fromscratch.chat.neftune import noisy_embeddings
from fromscratch.chat.pack import DialogueBatches, Example, Joining, encode_example
from fromscratch.chat.settings import TuneSettings
from fromscratch.core.artifact import Artifact, Draft
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import write_json
from fromscratch.core.progress import progress, say
from fromscratch.core.workplace import Workplace
from fromscratch.corpus.sources import Package
from fromscratch.evaluate.answers import answers, language_of
from fromscratch.model.device import choose_device
from fromscratch.model.files import load_model
from fromscratch.tokenizer.chatml import IM_END, encode_plain
from fromscratch.tokenizer.load import load_tokenizer
from fromscratch.tokenizer.special import END_OF_TEXT
from fromscratch.train.run import train_to_end

__all__ = ["tune"]

NAMED_DAMAGES = 20  # so many are listed in the facts, and three on stderr; all are counted


def tune(
    draft: Draft,
    inputs: Mapping[str, Artifact],
    workplace: Workplace,
    *,
    seed: int,
    packages: Mapping[str, Package],
    tune: TuneSettings,
) -> dict[str, Any]:
    """Tune the `pretrain` model on the recipe's dialogues; write model.safetensors, model.json and samples.json.

    Raises FromScratchError for dialogues that cannot be read, for a source that gives no conversation, and for
    conversations longer than the model's context.
    """
    tokenizer = load_tokenizer(inputs["tokenizer"].path).backend
    decoder = load_model(inputs["pretrain"].path)
    if tune.sequence_tokens > decoder.settings.context_tokens:
        raise FromScratchError(
            f"`tune.sequence_tokens` = {tune.sequence_tokens} is above `model.context_tokens` = "
            f"{decoder.settings.context_tokens}",
            "lower the first: the model was not trained on positions beyond its context",
        )
    examples, about = _examples(inputs, tokenizer, seed, packages, tune)
    weights = {name: source.weight for name, source in tune.dialogues.items()}
    between = [IM_END, *encode_plain(tokenizer, "\n")]
    joining = Joining(tune.joined_share, tune.sequence_tokens, between) if tune.joined_share else None
    batches = DialogueBatches(examples, weights, seed, tune.batch_sequences, joining)
    with noisy_embeddings(decoder, tune.neftune_alpha, seed):
        trained = train_to_end(draft.folder, decoder, batches.batch, tune, workplace, "tune")
    _write_samples(draft.folder, tokenizer, workplace, tune)
    for name, share in batches.shares.items():
        drawn = tune.steps * tune.batch_sequences * share
        about[name] |= {"share": round(share, 4), "passes": round(drawn / len(examples[name]), 2)}
    return {
        "summary": f"{sum(map(len, examples.values())):,} conversations, loss {trained['final_loss']:.3f}",
        "dialogues": about,
        **trained,
    }


def _examples(
    inputs: Mapping[str, Artifact],
    tokenizer: Tokenizer,
    seed: int,
    packages: Mapping[str, Package],
    tune: TuneSettings,
) -> tuple[dict[str, list[Example]], dict[str, dict[str, Any]]]:
    """The examples of each source, and what there is to say about it."""
    examples: dict[str, list[Example]] = {}
    about: dict[str, dict[str, Any]] = {}
    with progress("dialogues", len(tune.dialogues)) as advance:
        for name, source in tune.dialogues.items():
            reading = read_dialogues(name, source, inputs["fetch"].path, inputs["corpus"].path, packages, seed)
            encoded = [encode_example(tokenizer, each, tune.sequence_tokens) for each in reading.conversations]
            examples[name] = [each for each in encoded if each is not None]
            reading.dropped["too_many_tokens"] = len(encoded) - len(examples[name])
            if not examples[name]:
                raise FromScratchError(
                    f"`tune.dialogues.{name}`: no answer ends within `tune.sequence_tokens` = {tune.sequence_tokens}",
                    "raise it, or use shorter conversations",
                )
            _name_damage(name, reading)
            about[name] = {
                "conversations": len(examples[name]),
                "learnt_tokens": sum(each.learnt_tokens for each in examples[name]),
                "dropped": {reason: count for reason, count in sorted(reading.dropped.items()) if count},
                "damaged": len(reading.damaged),
                "damages": reading.damaged[:NAMED_DAMAGES],
            }
            advance()
    return examples, about


def _name_damage(name: str, reading: Reading) -> None:
    for each in reading.damaged[:3]:
        say(f"warning: {name}: skipped {each}")
    if len(reading.damaged) > 3:
        say(f"warning: {name}: skipped {len(reading.damaged):,} damaged conversations in all")


def _write_samples(folder: Path, tokenizer: Tokenizer, workplace: Workplace, tune: TuneSettings) -> None:
    """Ask the tuned model as it was written, so that a run that had ended before it was killed has the same answers."""
    decoder = load_model(folder).to(choose_device(workplace.machine)).eval()
    given = answers(decoder, tokenizer, tune.sample_prompts, end_of_document=END_OF_TEXT, tokens=tune.sample_tokens)
    samples = [
        {"prompt": each.prompt, "answer": each.text, "ended": each.ended, "language": language_of(each.text)}
        for each in given
    ]
    write_json(folder / "samples.json", samples)
