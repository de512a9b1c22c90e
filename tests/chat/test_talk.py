"""Talking to a model: once, through a pipe, and in a terminal; answers on stdout, all talk about them on stderr."""

import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import save_file
from tokenizers import Tokenizer

from fromscratch.chat import speaker as speaker_module
from fromscratch.chat.speaker import Reply, fitting_history, load_speaker, speak
from fromscratch.chat.talk import talk
from fromscratch.core.errors import FromScratchError
from fromscratch.model.files import load_model
from fromscratch.model.llama_names import llama_config, to_llama_name
from fromscratch.model.settings import Sampling
from fromscratch.tokenizer.chatml import CHAT_TEMPLATE, encode_chat, encode_plain

GREEDY = Sampling(temperature=0.0, max_tokens=24)


class Piped(io.StringIO):
    def isatty(self) -> bool:
        return False


class Typed(io.StringIO):
    def isatty(self) -> bool:
        return True


def release(run: Path, folder: Path) -> Path:
    """The tuned model of a run as a folder of the Llama layout."""
    decoder = load_model(run / "tune")
    folder.mkdir()
    weights = {to_llama_name(name): each.detach() for name, each in decoder.named_parameters()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = llama_config(decoder.settings, decoder.vocabulary, beginning_id=1, end_ids=[7, 2], padding_id=0)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.0, "max_new_tokens": 24}))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    shutil.copy(run / "tokenizer" / "tokenizer.json", folder)
    return folder


def test_one_message_gives_the_answer_alone_on_stdout(tuned_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert talk(tuned_run, message="鲸是什么？", temperature=0.0) == 0
    assert capsys.readouterr() == ("鲸是哺乳动物。\n", "")


def test_json_gives_one_object(tuned_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert talk(tuned_run, message="Hello!", temperature=0.0, seed=3, as_json=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "model": str(tuned_run / "tune"),
        "tuned": True,
        "prompt": "Hello!",
        "answer": "Thank you.",
        "ended": True,
        "prompt_tokens": said["prompt_tokens"],
        "tokens": said["tokens"],
        "seed": 3,
    }
    assert said["prompt_tokens"] > said["tokens"] > 1


@pytest.mark.parametrize("place", ["tune", "release/model", "."])
def test_a_run_an_artifact_and_a_release_answer_alike(
    place: str, tuned_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tuned_run, tmp_path / "run")
    (tmp_path / "run" / "release").mkdir()
    folder = release(tuned_run, tmp_path / "run" / "release" / "model")
    assert load_speaker(tmp_path / "run").folder == folder, "of a run, the furthest is taken"
    assert talk(tmp_path / "run" / place, message="你好！", temperature=0.0) == 0
    assert capsys.readouterr().out == "谢谢。\n"


def test_a_base_model_goes_on_with_the_text_and_a_note_says_so(
    tuned_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talk(tuned_run / "pretrain", message="A whale", max_tokens=3, as_json=True) == 0
    said = capsys.readouterr()
    answer = json.loads(said.out)
    base = load_speaker(tuned_run / "pretrain")
    assert answer["tuned"] is False and answer["prompt_tokens"] == len(encode_plain(base.tokenizer, "A whale"))
    assert "not tuned for chat" in said.err


def test_a_pipe_is_one_conversation_answered_line_by_line(
    tuned_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Piped("Hello!\n\n/reset\n鲸是什么？\n/rest\n/exit\nnever asked\n"))
    assert talk(tuned_run, temperature=0.0) == 0
    said = capsys.readouterr()
    assert said.out == "Thank you.\n鲸是哺乳动物。\n"
    assert "(forgotten)" in said.err and "/rest: not a command\nhint: did you mean `/reset`?" in said.err


def test_in_a_terminal_ctrl_d_leaves_and_ctrl_c_leaves_the_second_time(
    tuned_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def type_lines(*lines: str | type[BaseException]) -> None:
        left = iter(lines)

        def read(_prompt: str) -> str:
            line = next(left)
            if isinstance(line, str):
                return line
            raise line

        monkeypatch.setattr("builtins.input", read)
        monkeypatch.setattr(sys, "stdin", Typed())

    type_lines("Hello!", "/help", EOFError)
    assert talk(tuned_run, temperature=0.0) == 0
    said = capsys.readouterr()
    assert "Thank you.\n" in said.out and "/reset" in said.err
    type_lines(KeyboardInterrupt, "Hello!", KeyboardInterrupt, KeyboardInterrupt, "never asked")
    assert talk(tuned_run, temperature=0.0) == 0
    assert capsys.readouterr().out.count("Thank you.") == 1


def test_ctrl_c_stops_an_answer_and_the_talk_goes_on(
    tuned_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(["Hello!", "Hello again!", "/exit"])
    monkeypatch.setattr("builtins.input", lambda _prompt: next(lines))
    monkeypatch.setattr(sys, "stdin", Typed())
    letter = load_speaker(tuned_run).tokenizer.token_to_id("a")
    monkeypatch.setattr(speaker_module, "generate", lambda *_, **__: repeated(letter, 5))
    assert talk(tuned_run) == 0
    assert capsys.readouterr().out == "aaaaa\naaaaa\n"
    assert talk(tuned_run, message="Hello!") == 128 + signal.SIGINT


def repeated(token: int, interrupt_after: int) -> Iterator[int]:
    """A model that never ends, and a person who presses Ctrl-C after so many tokens."""
    for _ in range(interrupt_after - 1):
        yield token
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        yield token


def spelling(monkeypatch: pytest.MonkeyPatch, ids: list[int]) -> None:
    monkeypatch.setattr(speaker_module, "generate", lambda *_, **__: iter(ids))


def test_characters_of_several_tokens_arrive_whole(
    tuned_run: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_speaker(tuned_run)
    text = "龘 is 龍龍龍, 🐋!"
    ids = encode_plain(tokenizer, text)
    assert len(ids) > len(text), "characters that the tokenizer has no piece for"
    spelling(monkeypatch, ids)
    reply = Reply()
    pieces = list(speak(model, [{"role": "user", "content": "?"}], GREEDY, 0, reply))
    assert "".join(pieces) == reply.text == text
    assert "\ufffd" not in "".join(pieces) and all(pieces)
    assert "龘" in pieces and "🐋" in pieces


def test_bytes_that_never_become_a_character_are_shown_as_such_at_the_end(
    tuned_run: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encode_plain(tokenizer, "龘")
    spelling(monkeypatch, [*whole, *whole[:-1], *encode_plain(tokenizer, "a"), *whole[:-1]])
    reply = Reply()
    pieces = list(speak(load_speaker(tuned_run), [{"role": "user", "content": "?"}], GREEDY, 0, reply))
    assert "".join(pieces) == reply.text
    assert reply.text.replace("\ufffd", "") == "龘a" and reply.text.endswith("\ufffd")


def test_a_terminal_is_not_sent_control_characters(
    tuned_run: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spelling(monkeypatch, encode_plain(tokenizer, "a\x1b[2Jb\tc\nd"))
    talk(tuned_run, message="?")
    assert capsys.readouterr().out == "a\ufffd[2Jb\tc\nd\n"


def exchanges(count: int) -> list[dict[str, str]]:
    said = [{"role": ("user", "assistant")[n % 2], "content": f"whale {n}"} for n in range(2 * count)]
    return [*said, {"role": "user", "content": "What is a whale?"}]


def test_the_oldest_turns_are_forgotten_when_the_context_is_full(tuned_run: Path) -> None:
    model = load_speaker(tuned_run)
    system = {"role": "system", "content": "Be kind."}
    kept = fitting_history(model, [system, *exchanges(9)], answer_tokens=24)
    assert kept[0] == system and kept[-1]["content"] == "What is a whale?"
    assert kept[1]["role"] == "user" and kept[1:] == exchanges(9)[-len(kept) + 1 :], "the youngest are kept, in pairs"
    assert len(encode_chat(model.tokenizer, kept)) <= 96 - 24
    before = [system, *exchanges(9)[-len(kept) - 1 :]]
    assert len(encode_chat(model.tokenizer, before)) > 96 - 24, "and as many as fit"
    assert fitting_history(model, exchanges(1), answer_tokens=24) == exchanges(1)


def test_forgetting_is_said_once(
    tuned_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Piped("What is a whale?\n" * 6))
    assert talk(tuned_run, temperature=0.0, max_tokens=20) == 0
    said = capsys.readouterr()
    assert said.err.count("the oldest turns are forgotten now") == 1
    assert said.out.count("\n") == 6


def test_a_message_too_long_for_the_model_is_refused_and_the_talk_goes_on(
    tuned_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Piped("zq" * 90 + "\nHello!\n"))
    assert talk(tuned_run, temperature=0.0) == 0
    said = capsys.readouterr()
    assert said.out == "Thank you.\n" and "reads 96 at once" in said.err
    with pytest.raises(FromScratchError, match="reads 96 at once"):
        talk(tuned_run, message="zq" * 90)


def test_equal_seeds_give_equal_answers(tuned_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(seed: int) -> str:
        talk(tuned_run / "pretrain", message="A", temperature=1.5, top_p=1.0, max_tokens=12, seed=seed)
        return capsys.readouterr().out

    assert answer(1) == answer(1) != answer(2)


def damaged(tmp_path: Path, run: Path, what: str) -> Path:
    folder = tmp_path / "model"
    if what == "missing":
        return folder
    if what == "empty":
        folder.mkdir()
        return folder
    if what == "file":
        folder.write_text("")
        return folder
    release(run, folder)
    if what == "no llama":
        (folder / "config.json").write_text(json.dumps({"model_type": "bloom"}))
    elif what == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif what == "broken tokenizer":
        (folder / "tokenizer.json").write_text("{}")
    elif what == "broken generation config":
        (folder / "generation_config.json").write_text("{")
    elif what == "no weights":
        (folder / "model.safetensors").unlink()
    return folder


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", "model: no such folder"),
        ("empty", "model: an empty folder"),
        ("file", "model: not a folder"),
        ("no llama", "`model_type` = 'bloom' is not known"),
        ("no tokenizer", "model: no tokenizer.json in it"),
        ("broken tokenizer", "tokenizer.json: not a tokenizer"),
        ("broken generation config", "generation_config.json: not JSON"),
        ("no weights", "model.safetensors: no such file"),
    ],
)
def test_a_folder_without_a_whole_model_gives_one_sentence_and_a_hint(
    what: str, message: str, tmp_path: Path, tuned_run: Path
) -> None:
    with pytest.raises(FromScratchError) as refused:
        talk(damaged(tmp_path, tuned_run, what), message="Hello!")
    assert message in refused.value.message and "\n" not in refused.value.message and refused.value.hint


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"message": " "}, "the message is empty"),
        ({"message": "\udcff"}, "the message is not UTF-8"),
        ({"message": "Hi", "temperature": -1.0}, "`temperature` = -1.0 is refused"),
        ({"message": "Hi", "top_p": 0.0}, "`top_p` = 0.0 is refused"),
        ({"message": "Hi", "max_tokens": 0}, "`max_tokens` = 0 is refused"),
        ({"message": "Hi", "system": ""}, "the system prompt is empty"),
    ],
)
def test_settings_and_messages_that_make_no_sense_are_refused(
    given: dict[str, object], message: str, tuned_run: Path
) -> None:
    with pytest.raises(FromScratchError) as refused:
        talk(tuned_run, **given)  # type: ignore[arg-type]
    assert message in refused.value.message
