"""Talking to a model in a terminal, line by line through a pipe, or once."""

import contextlib
import importlib
import json
import signal
import sys
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fromscratch.chat.speaker import Reply, Speaker, fitting_history, load_speaker, speak
from fromscratch.core.errors import EXIT_DONE, FromScratchError
from fromscratch.core.progress import say
from fromscratch.core.settings import did_you_mean, validate_settings
from fromscratch.core.stopping import Stopped, stop_at_safe_point
from fromscratch.model.settings import Sampling
from fromscratch.tokenizer.chatml import Message

__all__ = ["talk"]

HELP = """/reset  forget the conversation
/exit   leave, like Ctrl-D
/help   this
Ctrl-C stops an answer; twice in a row leaves."""
COMMANDS = ("/exit", "/help", "/reset")


def talk(
    model: Path,
    *,
    message: str | None = None,
    system: str | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    max_tokens: int | None = None,
    seed: int = 0,
    as_json: bool = False,
) -> int:
    """Talk to the model in a folder; returns the exit status.

    With ``message`` one answer goes to stdout. Else messages are read from the terminal, or a line each from a pipe,
    until they end. Answers go to stdout, or with ``as_json`` an object each; all talk about them goes to stderr.
    Whatever is not given is as the model's folder says. Equal seeds give equal answers. Raises FromScratchError for
    a folder without a model and for settings that make no sense.
    """
    asked = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
    given = {name: value for name, value in asked.items() if value is not None}
    speaker = load_speaker(model)
    sampling = validate_settings(Sampling, speaker.sampling.model_dump() | given, "chat", {})
    session = Session(speaker, sampling, seed, system, as_json)
    if not speaker.tuned:
        say(f"{speaker.folder} is not tuned for chat in our format: it goes on with your text, and forgets it")
    try:
        if message is not None:
            signal_number = session.ask(message)
            return EXIT_DONE if signal_number is None else 128 + signal_number
        return _in_terminal(session) if sys.stdin.isatty() else _through_pipe(session)
    except Stopped as stop:  # a second signal during an answer
        print()
        return 128 + stop.signal_number


@dataclass
class Session:
    """One conversation: what was said, and how the next answer is drawn."""

    speaker: Speaker
    sampling: Sampling
    seed: int
    system: str | None
    as_json: bool
    messages: list[Message] = field(default_factory=list)
    answers: int = 0
    told_of_forgetting: bool = False

    def reset(self) -> None:
        self.messages = []

    def ask(self, text: str) -> int | None:
        """Answer a message on stdout as the answer comes; return the signal that cut it short, if one did.

        Raises FromScratchError for a message that is empty, no Unicode, or too long; the talk is then as before.
        """
        history = self._history({"role": "user", "content": _sound(text, "message")})
        reply = Reply()
        with stop_at_safe_point() as stop:
            for piece in speak(self.speaker, history, self.sampling, self.seed + self.answers, reply):
                if not self.as_json:
                    print(_harmless(piece), end="", flush=True)
                if stop:
                    break
        print(json.dumps(self._facts(text, reply), ensure_ascii=False) if self.as_json else "", flush=True)
        self.answers += 1
        self.messages = [*history, {"role": "assistant", "content": reply.text}]
        return stop.signal_number

    def _history(self, question: Message) -> list[Message]:
        if self.system is not None and not self.messages:
            self.messages = [{"role": "system", "content": _sound(self.system, "system prompt")}]
        whole = [*self.messages, question]
        history = fitting_history(self.speaker, whole, self.sampling.max_tokens)
        if len(history) < len(whole) and not self.told_of_forgetting:
            self.told_of_forgetting = True
            say(f"(the model reads {self.speaker.context_tokens:,} tokens at once: the oldest turns are forgotten now)")
        return history

    def _facts(self, text: str, reply: Reply) -> dict[str, Any]:
        return {
            "model": str(self.speaker.folder),
            "tuned": self.speaker.tuned,
            "prompt": text,
            "answer": reply.text,
            "ended": reply.ended,
            "prompt_tokens": reply.prompt_tokens,
            "tokens": reply.tokens,
            "seed": self.seed + self.answers,
        }


def _in_terminal(session: Session) -> int:
    with contextlib.suppress(ImportError):  # arrow keys and history; loaded here as it may write to the terminal
        importlib.import_module("readline")
    say(f"{session.speaker.folder}; /help lists the commands")
    interrupted = False
    while True:
        try:
            line = input("you: ").strip()
        except EOFError:
            print()
            return EXIT_DONE
        except KeyboardInterrupt:
            print()
            if interrupted:
                return EXIT_DONE
            interrupted = True
            say("(Ctrl-C again, or /exit, leaves)")
            continue
        if line == "/exit":
            return EXIT_DONE
        signal_number = _answer_line(session, line)
        interrupted = signal_number == signal.SIGINT
        if signal_number is not None and not interrupted:
            return 128 + signal_number


def _through_pipe(session: Session) -> int:
    try:
        for line in sys.stdin:
            if line.strip() == "/exit":
                return EXIT_DONE
            signal_number = _answer_line(session, line.strip())
            if signal_number is not None:
                return 128 + signal_number
    except UnicodeDecodeError as error:
        raise FromScratchError(
            f"standard input: not UTF-8 (byte {error.object[error.start]:#x})", "convert it, for example with iconv"
        ) from None
    return EXIT_DONE


def _answer_line(session: Session, line: str) -> int | None:
    """Do what a line asks for: nothing, a command, or an answer. What is wrong with it is said and the talk goes on."""
    try:
        if line == "/reset":
            session.reset()
            say("(forgotten)")
        elif line == "/help":
            say(HELP)
        elif line.startswith("/"):
            raise FromScratchError(f"{line.split()[0]}: not a command", did_you_mean(line.split()[0], list(COMMANDS)))
        elif line:
            return session.ask(line)
    except FromScratchError as error:
        say(f"error: {error}")
    return None


def _sound(text: str, what: str) -> str:
    """The text, if there is one and it is Unicode. Raises FromScratchError."""
    if not text.strip():
        raise FromScratchError(f"the {what} is empty", "say something")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FromScratchError(f"the {what} is not UTF-8", "convert it, for example with iconv") from None
    return text


def _harmless(text: str) -> str:
    """Without control characters, which a model may well produce and a terminal would obey."""
    return "".join(each if each in "\n\t" or unicodedata.category(each) != "Cc" else "\ufffd" for each in text)
