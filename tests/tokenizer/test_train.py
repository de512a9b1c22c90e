"""What the pieces are, what they are learnt from, and that nothing else decides them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fromscratch.core.artifact import Artifact, Origin, begin_artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.tokenizer.load import Tokenizer, load_tokenizer
from fromscratch.tokenizer.sample import sample_documents, sample_rates, train_bytes
from fromscratch.tokenizer.settings import TokenizerSettings
from tests.make_corpus import make_corpus
from tests.tokenizer.conftest import CHINESE, ENGLISH, run_stage

HAN = re.compile("[\u4e00-\u9fff]")


def pieces_of(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.decode([each]) for each in tokenizer.encode(text)]


def test_frequent_words_of_both_languages_and_of_code_become_pieces(tokenizer: Tokenizer) -> None:
    assert pieces_of(tokenizer, "The whale") == ["The", " whale"]
    assert pieces_of(tokenizer, "鲸鱼浮出水面") == ["鲸鱼浮出水面"]
    assert pieces_of(tokenizer, "if self.x):\n            return") == [
        "if",
        " self",
        ".",
        "x",
        "):\n           ",
        " return",
    ]


def test_digits_stand_alone(tokenizer: Tokenizer, corpus: Artifact, tmp_path: Path) -> None:
    assert pieces_of(tokenizer, "2023年12月") == [
        "2",
        "0",
        "2",
        "3",
        *pieces_of(tokenizer, "年"),
        "1",
        "2",
        *pieces_of(tokenizer, "月"),
    ]
    assert not [piece for piece in tokenizer.pieces[16:] if re.search(rb"\d", piece) and len(piece) > 1]
    grouped = load_tokenizer(run_stage(tmp_path, corpus, TokenizerSettings(pieces=900, digits="up_to_three")).path)
    assert pieces_of(grouped, "12") == ["12"]


def test_no_piece_joins_han_characters_and_words(tokenizer: Tokenizer) -> None:
    texts = [piece.decode(errors="ignore") for piece in tokenizer.pieces[16:]]
    assert any(HAN.search(text) for text in texts)
    assert not [text for text in texts if HAN.search(text) and re.search("[A-Za-z]", text)]


def test_full_width_marks_stay_as_they_are(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("，") != tokenizer.encode(",")
    assert tokenizer.decode(tokenizer.encode("Ａ，１！ﬁ")) == "Ａ，１！ﬁ"


def test_no_piece_is_longer_than_asked(corpus: Artifact, tmp_path: Path) -> None:
    short = load_tokenizer(run_stage(tmp_path, corpus, TokenizerSettings(pieces=900, longest_piece_bytes=5)).path)
    assert max(len(piece) for piece in short.pieces[16:]) == 5


def test_neither_held_out_nor_dropped_documents_are_learnt_from(tmp_path: Path) -> None:
    rows = [{"text": ENGLISH}] * 9 + [{"text": "quokka " * 50, "split": "heldout"}]
    rows += [{"text": "zyzzyva " * 50, "reason": "too_repetitive"}, {"text": "axolotl " * 50}]
    corpus = make_corpus(tmp_path / "corpus", rows)
    tokenizer = load_tokenizer(run_stage(tmp_path, corpus, TokenizerSettings(pieces=600)).path)
    assert b" axolotl" in tokenizer.pieces
    assert not [piece for piece in tokenizer.pieces if b"quo" in piece or b"zyz" in piece]


def test_the_number_of_threads_changes_nothing() -> None:
    digests = [_digest_in_a_new_process(threads) for threads in (1, 3)]
    assert digests[0] == digests[1] and len(digests[0]) == 64


def _digest_in_a_new_process(threads: int) -> str:
    """The crate fixes its number of threads once in a process, so each number gets its own."""
    code = f"""
import argparse, hashlib, inspect
from fromscratch.tokenizer.settings import TokenizerSettings
from fromscratch.tokenizer.train import train_bpe
lines = inspect.getsource(argparse).splitlines(keepends=True)
bpe = train_bpe(lines, TokenizerSettings(pieces=1200), threads={threads})
print(hashlib.sha256(bpe.to_str().encode()).hexdigest())
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_an_interrupted_stage_ends_with_the_same_content(trained: Artifact, corpus: Artifact, tmp_path: Path) -> None:
    settings = TokenizerSettings(pieces=900)
    draft = begin_artifact(tmp_path / "tokenizer", Origin("tokenizer", settings.model_dump(mode="json"), {}))
    (draft.folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    (draft.folder / "measure.json.writing").write_text("{", encoding="utf-8")
    assert run_stage(tmp_path, corpus, settings).digest == trained.digest


def test_the_sample_is_shared_by_weight_and_filled_up() -> None:
    available = {"en": 1000, "zh": 1000, "code": 100, "fr": 0}
    assert sample_rates(available, {}, 300) == {"en": 0.1, "zh": 0.1, "code": 1.0}
    assert sample_rates(available, {}, 900) == {"code": 1.0, "en": 0.4, "zh": 0.4}
    assert sample_rates(available, {"zh": 2.0, "code": 0.0}, 600) == pytest.approx({"en": 0.2, "zh": 0.4})
    assert sample_rates(available, {}, 10_000) == {"en": 1.0, "zh": 1.0, "code": 1.0}
    assert sample_rates({"en": 10}, {"en": 0.0}, 10) == {}


def test_the_sample_has_about_the_bytes_asked_for_and_depends_on_the_seed(tmp_path: Path) -> None:
    rows = [{"text": f"{number:050}", "language": ("en", "zh")[number % 2]} for number in range(4000)]
    folder = make_corpus(tmp_path / "corpus", rows).path
    assert train_bytes(folder) == {"en": 100_000, "zh": 100_000}
    drawn = [list(sample_documents(folder, {"en": 0.3, "zh": 0.1}, seed)) for seed in (1, 1, 2)]
    languages = [language for language, _ in drawn[0]]
    assert 500 < languages.count("en") < 700 and 150 < languages.count("zh") < 250
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(list(sample_documents(folder, {"en": 1.0}, 1))) == 2000


def test_the_measure_counts_held_out_documents_by_language_and_group(tokenizer: Tokenizer, trained: Artifact) -> None:
    measured = json.loads(trained.file("measure.json").read_text(encoding="utf-8"))
    english = measured["by_language"]["en"]
    assert english["bytes"] == len(ENGLISH.encode()) and english["tokens"] == len(tokenizer.encode(ENGLISH))
    assert english["bytes_per_token"] == round(english["bytes"] / english["tokens"], 4)
    assert english["han_characters"] == 0 and english["tokens_per_han_character"] is None
    books, chinese = measured["by_group"]["zh/books"], measured["by_language"]["zh"]
    han = len(HAN.findall(CHINESE))
    assert (books["documents"], chinese["documents"], chinese["han_characters"]) == (1, 2, 2 * han)
    with_han = sum(bool(HAN.search(piece)) for piece in pieces_of(tokenizer, CHINESE))  # no partial characters here
    assert books["tokens_per_han_character"] == round(with_han / han, 4)
    assert measured["pieces"] == 900 and measured["longest_pieces"]["zh"][0] in CHINESE
    assert measured["sample"]["en"] == {"documents": 40, "bytes": 160 * len(ENGLISH)}
    assert trained.facts["bytes_per_token"]["en"] == english["bytes_per_token"]


def test_a_corpus_with_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    empty = make_corpus(tmp_path / "corpus", [{"text": "held out", "split": "heldout"}])
    with pytest.raises(FromScratchError, match="no train document to learn pieces from"):
        run_stage(tmp_path / "a", empty, TokenizerSettings())


def test_a_weight_for_a_language_that_is_not_there_is_refused(corpus: Artifact, tmp_path: Path) -> None:
    with pytest.raises(FromScratchError, match=r"`tokenizer\.language_weights\.zz`") as refused:
        run_stage(tmp_path, corpus, TokenizerSettings(language_weights={"zz": 2.0}))
    assert "`zh`" in refused.value.hint


def test_a_damaged_corpus_file_is_named(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", [{"text": ENGLISH}] * 9)
    damaged = corpus.path / "documents" / "00000.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(FromScratchError, match=r"00000\.parquet: cannot be read"):
        run_stage(tmp_path / "a", corpus, TokenizerSettings())


def test_a_small_sample_gives_fewer_pieces_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = make_corpus(tmp_path / "corpus", [{"text": ENGLISH}] * 9)
    made = run_stage(tmp_path, corpus, TokenizerSettings())
    assert (
        f"the sample gave {made.facts['pieces']:,} pieces; `tokenizer.pieces` asks for 8,000" in capsys.readouterr().err
    )
    assert load_tokenizer(made.path).vocabulary == made.facts["pieces"] < 400
