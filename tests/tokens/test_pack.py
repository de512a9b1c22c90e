"""Documents become shards: each byte accounted for, whatever was interrupted and however many work."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fromscratch.core.artifact import Artifact, Draft, Origin, begin_artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.core.ledger import Ledger
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.tokenizer.load import Tokenizer, load_tokenizer
from fromscratch.tokenizer.settings import TokenizerSettings
from fromscratch.tokenizer.train import train_bpe
from fromscratch.tokens.heldout import heldout_documents
from fromscratch.tokens.pack import pack_tokens
from fromscratch.tokens.settings import TokensSettings
from fromscratch.tokens.shards import read_index, token_type, write_shard
from tests.make_corpus import make_corpus

SMALL = TokensSettings(shard_bytes=2_000)


def example_rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number in range(300):
        rows.append({"text": f"The whale number {number} surfaced.\n" * (number % 5 + 1)})
        rows.append({"text": f"第{number}头鲸鱼浮出水面。" * (number % 3 + 1), "language": "zh", "domain": "books"})
    for row in rows[::25]:
        row["split"] = "heldout"
    rows[7] |= {"reason": "too_short", "split": None}
    rows[9] |= {"text": "He typed <|endoftext|> and <|im_end|>."}
    rows[10] |= {"text": "long " * 2000}
    return rows


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "corpus", example_rows())


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    draft = begin_artifact(tmp_path_factory.mktemp("tokenizer") / "tokenizer", Origin("tokenizer", {}, {}))
    trained = train_bpe([row["text"] for row in example_rows()], TokenizerSettings(pieces=500))
    (draft.folder / "tokenizer.json").write_text(trained.to_str(), encoding="utf-8")
    return draft.finish()


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Artifact) -> Tokenizer:
    return load_tokenizer(tokenizer_folder.path)


def begin(folder: Path, settings: TokensSettings = SMALL) -> Draft:
    return begin_artifact(folder / "tokens", Origin("tokens", settings.model_dump(mode="json"), {}))


def pack(
    folder: Path, corpus: Artifact, tokenizer: Artifact, settings: TokensSettings = SMALL, workers: int = 1
) -> Artifact:
    draft = begin(folder, settings)
    with Ledger(folder / "ledger.jsonl") as ledger:
        inputs = {"corpus": corpus, "tokenizer": tokenizer}
        return draft.finish(pack_tokens(draft, inputs, Workplace(Machine(workers=workers), ledger), tokens=settings))


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory, corpus: Artifact, tokenizer_folder: Artifact) -> Artifact:
    return pack(tmp_path_factory.mktemp("packed"), corpus, tokenizer_folder)


def rows_of(language: str, split: str) -> list[dict[str, Any]]:
    rows = [{"language": "en", "split": "train", **row} for row in example_rows()]
    return [row for row in rows if (row["language"], row["split"]) == (language, split)]


def test_a_group_is_its_documents_end_to_end(packed: Artifact, tokenizer: Tokenizer) -> None:
    index = read_index(packed.path)
    assert (index["vocabulary"], index["end_of_document"]) == (tokenizer.vocabulary, 2)
    assert list(index["groups"]) == ["en/technical", "zh/books"]
    for group, language in (("en/technical", "en"), ("zh/books", "zh")):
        expected = [each for row in rows_of(language, "train") for each in [*tokenizer.encode(row["text"]), 2]]
        entry = index["groups"][group]["train"]
        assert len(entry["shards"]) > 3
        stream = np.concatenate([np.fromfile(packed.file(shard["file"]), dtype="<u2") for shard in entry["shards"]])
        assert stream.tolist() == expected
        texts = [row["text"] for row in rows_of(language, "train")]
        assert (entry["tokens"], entry["documents"]) == (len(expected), len(texts))
        assert entry["bytes"] == sum(len(text.encode()) for text in texts)


def test_the_files_beside_a_shard_tell_its_documents_apart(packed: Artifact, tokenizer: Tokenizer) -> None:
    texts = [row["text"] for row in rows_of("zh", "train")]
    seen = 0
    for shard in read_index(packed.path)["groups"]["zh/books"]["train"]["shards"]:
        path = packed.file(shard["file"])
        tokens = np.fromfile(path, dtype="<u2")
        bounds = np.fromfile(path.with_suffix(".bounds"), dtype="<u8")
        sizes = np.fromfile(path.with_suffix(".bytes"), dtype="<u4")
        ids = path.with_suffix(".ids").read_text(encoding="utf-8").split("\n")
        assert len(sizes) == shard["documents"] == len(bounds) - 1 == len(ids) - 1
        assert bounds[0] == 0 and bounds[-1] == shard["tokens"] == len(tokens)
        for number in range(shard["documents"]):
            document = tokens[int(bounds[number]) : int(bounds[number + 1])]
            assert tokenizer.decode(document[:-1]) == texts[seen] and document[-1] == 2
            assert sizes[number] == len(texts[seen].encode()) and len(ids[number]) == 16
            seen += 1
        assert packed.manifest["files"][shard["file"]]["sha256"] == shard["sha256"]
    assert seen == len(texts)


def test_text_that_names_special_tokens_stays_text(packed: Artifact) -> None:
    shards = read_index(packed.path)["groups"]["en/technical"]["train"]["shards"]
    stream = np.concatenate([np.fromfile(packed.file(shard["file"]), dtype="<u2") for shard in shards])
    assert set(stream[stream < 16].tolist()) == {2}
    assert np.count_nonzero(stream == 2) == len(rows_of("en", "train"))


def test_held_out_documents_come_back_whole(packed: Artifact, tokenizer: Tokenizer) -> None:
    for group, language in (("en/technical", "en"), ("zh/books", "zh")):
        documents = list(heldout_documents(packed.path, group))
        texts = [row["text"] for row in rows_of(language, "heldout")]
        assert [tokenizer.decode(tokens[:-1]) for tokens, _, _ in documents] == texts
        assert all(tokens[-1] == 2 for tokens, _, _ in documents)
        assert [size for _, size, _ in documents] == [len(text.encode()) for text in texts]
        assert len({name for _, _, name in documents}) == len(texts)
    with pytest.raises(FromScratchError, match="no group `zh/boks`") as refused:
        list(heldout_documents(packed.path, "zh/boks"))
    assert refused.value.hint == "did you mean `zh/books`?"


def test_shards_are_cut_at_the_bytes_asked_for(
    packed: Artifact, corpus: Artifact, tokenizer_folder: Artifact, tmp_path: Path
) -> None:
    shards = read_index(packed.path)["groups"]["zh/books"]["train"]["shards"]
    for shard in shards:
        sizes = np.fromfile(packed.file(shard["file"]).with_suffix(".bytes"), dtype="<u4")
        assert sizes.sum() < SMALL.shard_bytes + 3 * 45
    names = [shard["file"] for shard in shards]
    assert names == [f"train/zh--books-{number:05}.tokens" for number in range(len(names))]
    whole = read_index(pack(tmp_path, corpus, tokenizer_folder, TokensSettings()).path)["groups"]
    assert [len(whole[group]["train"]["shards"]) for group in whole] == [1, 1]


def test_workers_change_nothing(
    packed: Artifact, corpus: Artifact, tokenizer_folder: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fromscratch.tokens.pack.CHUNK_BYTES", 300)
    assert pack(tmp_path, corpus, tokenizer_folder, workers=3).digest == packed.digest


def test_a_killed_run_goes_on_and_ends_with_the_same_digest(
    packed: Artifact, corpus: Artifact, tokenizer_folder: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def die_in_the_tenth(path: Path, *content: Any) -> None:
        if len(written) == 9:
            path.with_suffix(".bounds").write_bytes(b"half of")
            raise KeyboardInterrupt
        written.append(path.name)
        write_shard(path, *content)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("fromscratch.tokens.pack.write_shard", die_in_the_tenth)
        pack(tmp_path, corpus, tokenizer_folder)
    left = {path: path.stat().st_mtime_ns for path in begin(tmp_path).folder.rglob("*.tokens")}
    assert len(left) == 9
    resumed = pack(tmp_path, corpus, tokenizer_folder)
    assert resumed.digest == packed.digest
    assert all((resumed.path / p.parent.name / p.name).stat().st_mtime_ns == time for p, time in left.items())
    assert resumed.facts["encoded_bytes"] < packed.facts["encoded_bytes"]


def test_ids_take_16_bits_where_they_fit() -> None:
    assert [token_type(size).str for size in (8000, 65_535, 65_536, 200_000)] == ["<u2", "<u2", "<u4", "<u4"]


def test_a_corpus_without_train_documents_is_refused(tokenizer_folder: Artifact, tmp_path: Path) -> None:
    held_out = make_corpus(tmp_path / "corpus", [{"text": "a whale", "split": "heldout"}])
    with pytest.raises(FromScratchError, match="no train documents to pack"):
        pack(tmp_path, held_out, tokenizer_folder)
    nothing = make_corpus(tmp_path / "empty", [{"text": "a whale", "reason": "too_short"}])
    with pytest.raises(FromScratchError, match="no train documents to pack"):
        pack(tmp_path, nothing, tokenizer_folder)
