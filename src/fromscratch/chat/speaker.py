"""A model that can be talked to: found in a folder, and made to answer piece by piece."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from fromscratch.core.artifact import open_artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import validate_settings
from fromscratch.core.workplace import Machine
from fromscratch.model.decoder import Decoder
from fromscratch.model.device import choose_device
from fromscratch.model.files import load_model
from fromscratch.model.generate import generate
from fromscratch.model.settings import Sampling
from fromscratch.model.transformers_folder import read_transformers_folder
from fromscratch.tokenizer.chatml import CHAT_TEMPLATE, IM_END, Message, encode_chat, encode_plain
from fromscratch.tokenizer.special import END_OF_TEXT

__all__ = ["Reply", "Speaker", "fitting_history", "load_speaker", "speak"]

UNFINISHED = "\ufffd"  # what a decoder shows for bytes that are no whole character (yet)
MAKE_ONE = "name the `release/model` of a run, the run itself, or any Llama folder; `fromscratch run RECIPE` makes one"
RESTORE = "restore the file from where the model came from"


@dataclass(frozen=True)
class Speaker:
    """A decoder with its tokenizer; ``tuned`` says whether it knows ChatML or only continues texts."""

    folder: Path
    decoder: Decoder
    tokenizer: Tokenizer
    tuned: bool
    sampling: Sampling
    stop: frozenset[int]

    @property
    def context_tokens(self) -> int:
        return self.decoder.settings.context_tokens


@dataclass
class Reply:
    """An answer as it grows."""

    text: str = ""
    prompt_tokens: int = 0
    tokens: int = 0
    ended: bool = False  # by the model itself, not by the limit or a person


def load_speaker(path: Path) -> Speaker:
    """The model of a released folder, of a `tune` or `pretrain` artifact, or the furthest of a run.

    Raises FromScratchError for a folder that is missing, empty, or holds no Llama.
    """
    if not path.is_dir():
        what = "not a folder" if path.exists() else "no such folder"
        raise FromScratchError(f"{path}: {what}", MAKE_ONE)
    for folder in (path, path / "model", path / "release" / "model", path / "tune", path / "pretrain"):
        if any((folder / name).is_file() for name in ("config.json", "tokenizer.json")):
            return _released(folder)
        if (folder / "model.json").is_file():
            return _artifact(folder)
    what = "no model in it" if any(path.iterdir()) else "an empty folder"
    raise FromScratchError(f"{path}: {what}", MAKE_ONE)


def speak(speaker: Speaker, messages: Sequence[Message], sampling: Sampling, seed: int, reply: Reply) -> Iterator[str]:
    """Yield the answer to a conversation in pieces of whole characters, and keep count in ``reply``.

    A model without chat tuning goes on with the last message as a text. The pieces, joined, are ``reply.text``.
    """
    prompt = prompt_of(speaker, messages)
    reply.prompt_tokens = len(prompt)
    said: list[int] = []
    for token in generate(speaker.decoder, prompt, sampling=sampling, stop=speaker.stop, seed=seed):
        said.append(token)
        reply.tokens += 1
        # A Chinese character may be several byte-level tokens: what is no whole character yet is held back.
        yield from _grow(reply, speaker.tokenizer.decode(said, skip_special_tokens=True).rstrip(UNFINISHED))
    reply.ended = reply.tokens < min(sampling.max_tokens, speaker.context_tokens - len(prompt))
    yield from _grow(reply, speaker.tokenizer.decode(said, skip_special_tokens=True))


def _grow(reply: Reply, text: str) -> Iterator[str]:
    if len(text) > len(reply.text):
        piece = text[len(reply.text) :]
        reply.text = text
        yield piece


def prompt_of(speaker: Speaker, messages: Sequence[Message]) -> list[int]:
    """The token ids that the model reads."""
    if speaker.tuned:
        return encode_chat(speaker.tokenizer, messages)
    return encode_plain(speaker.tokenizer, messages[-1]["content"])


def fitting_history(speaker: Speaker, messages: Sequence[Message], answer_tokens: int) -> list[Message]:
    """The conversation without its oldest exchanges, as many as it takes to leave room for an answer.

    A system message stays. An answer is granted half of the context at most. Raises FromScratchError when the last
    message alone leaves no room.
    """
    room = speaker.context_tokens - min(answer_tokens, speaker.context_tokens // 2)
    system = list(messages[:1]) if messages[0]["role"] == "system" else []
    talk = list(messages[len(system) :])
    while (length := len(prompt_of(speaker, [*system, *talk]))) > room and len(talk) > 2:
        talk = talk[2:]
    if length > room:
        raise FromScratchError(
            f"{'the message' if not system else 'the message with its system prompt'} has {length:,} tokens; "
            f"{speaker.folder} reads {speaker.context_tokens:,} at once and needs {speaker.context_tokens - room:,} "
            "of them to answer",
            "shorten it",
        )
    return [*system, *talk]


def _artifact(folder: Path) -> Speaker:
    """A `tune` or `pretrain` artifact, whose tokenizer lies beside it in the run."""
    artifact = open_artifact(folder)
    tokenizer = folder.parent / "tokenizer" / "tokenizer.json"
    if not tokenizer.is_file():
        raise FromScratchError(f"{folder}: its tokenizer is not beside it, at {tokenizer}", MAKE_ONE)
    tuned = artifact is not None and artifact.origin.kind == "tune"
    return _speaker(folder, load_model(folder), tokenizer, tuned, Sampling())


def _released(folder: Path) -> Speaker:
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise FromScratchError(f"{folder}: no tokenizer.json in it", "save the fast tokenizer beside the weights")
    template = _json_object(folder / "tokenizer_config.json").get("chat_template")
    if (folder / "chat_template.jinja").is_file():
        template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    read = load_model if (folder / "model.json").is_file() else read_transformers_folder
    return _speaker(folder, read(folder), tokenizer, template == CHAT_TEMPLATE, _sampling_of(folder))


def _speaker(folder: Path, decoder: Decoder, tokenizer_file: Path, tuned: bool, sampling: Sampling) -> Speaker:
    tokenizer = _read_tokenizer(tokenizer_file)
    if tokenizer.get_vocab_size() > decoder.vocabulary:
        raise FromScratchError(
            f"{tokenizer_file} has {tokenizer.get_vocab_size():,} tokens and the model {decoder.vocabulary:,}",
            "put the tokenizer there that the model was trained with",
        )
    told = [_json_object(folder / name).get("eos_token_id") for name in ("generation_config.json", "config.json")]
    stop = {each for ids in told for each in (ids if isinstance(ids, list) else [ids]) if isinstance(each, int)}
    stop |= {IM_END, END_OF_TEXT} if tuned or not stop else set()
    decoder = decoder.to(choose_device(Machine())).eval()
    return Speaker(folder, decoder, tokenizer, tuned, sampling, frozenset(stop))


def _read_tokenizer(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the parser raises bare Exception
        raise FromScratchError(f"{path}: not a tokenizer ({str(error).splitlines()[0]})", RESTORE) from None
    return tokenizer


def _sampling_of(folder: Path) -> Sampling:
    """What the release says about its answers; other engines read the same file."""
    names = {
        "temperature": "temperature",
        "top_p": "top_p",
        "repetition_penalty": "repetition_penalty",
        "max_new_tokens": "max_tokens",
    }
    path = folder / "generation_config.json"
    told = _json_object(path)
    if told.get("do_sample") is False:
        told["temperature"] = 0
    given = {ours: told[theirs] for theirs, ours in names.items() if told.get(theirs) is not None}
    return validate_settings(Sampling, given, str(path))


def _json_object(path: Path) -> dict[str, Any]:
    """The object in a file, empty when there is none. Raises FromScratchError for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise FromScratchError(
            f"{path}: not JSON ({error})", "restore the file from where the model came from"
        ) from None
    if not isinstance(value, dict):
        raise FromScratchError(f"{path}: not a JSON object", "restore the file from where the model came from")
    return value
