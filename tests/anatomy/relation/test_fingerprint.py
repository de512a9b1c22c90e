"""A fingerprint is the same whatever the layout, survives its file, and a spoilt file is refused by name."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fromscratch.anatomy.relation.compare import compare_weights
from fromscratch.anatomy.relation.fingerprint import Fingerprint, fingerprint
from fromscratch.anatomy.relation.fingerprint_file import load_fingerprint, save_fingerprint
from fromscratch.anatomy.relation.sampling import Sample, common, kept, kept_columns, sample_places
from fromscratch.anatomy.structure.find import find_structure
from fromscratch.core.errors import FromScratchError
from tests.anatomy.zoo import Zoo


def fingerprint_of(zoo: Zoo, name: str) -> Fingerprint:
    checkpoint = zoo.checkpoint(name) if name in zoo.models else zoo.derived(name).checkpoint
    return fingerprint(checkpoint, find_structure(checkpoint))


@pytest.mark.parametrize("name", ["renamed_as_in_the_affair", "fused", "transposed"])
def test_names_and_layout_leave_no_trace_in_the_digest(zoo: Zoo, name: str) -> None:
    assert fingerprint_of(zoo, name).digest == fingerprint_of(zoo, "base").digest


def test_numbers_do(zoo: Zoo) -> None:
    assert fingerprint_of(zoo, "tuned").digest != fingerprint_of(zoo, "base").digest


def test_a_file_gives_the_same_verdicts_as_the_model(zoo: Zoo, tmp_path: Path) -> None:
    models = {
        name: fingerprint_of(zoo, name) for name in ("base", "tuned", "other_seed", "same_seed", "Q8_0", "shuffled")
    }
    for name, each in models.items():
        save_fingerprint(each, tmp_path / name)
        assert load_fingerprint(tmp_path / name).digest == each.digest
    loaded = {name: load_fingerprint(tmp_path / name) for name in models}
    for name in models:
        live, stored = (compare_weights(each["base"], each[name]) for each in (models, loaded))
        assert (stored.relation, stored.summary, stored.steps) == (live.relation, live.summary, live.steps)
        assert [test.log10_p for test in stored.tests] == [test.log10_p for test in live.tests]


def test_a_file_that_was_changed_is_refused(zoo: Zoo, tmp_path: Path) -> None:
    path = tmp_path / "base.fingerprint"
    save_fingerprint(fingerprint_of(zoo, "base"), path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(FromScratchError, match=r"base\.fingerprint was changed"):
        load_fingerprint(path)


def test_what_is_no_fingerprint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"weight": np.zeros(3, np.float32)}, path)
    with pytest.raises(FromScratchError, match="of the form None"):
        load_fingerprint(path)
    path.write_bytes(b"no safetensors at all")
    with pytest.raises(FromScratchError, match="is no fingerprint"):
        load_fingerprint(path)
    with pytest.raises(FromScratchError, match=r"nowhere"):
        load_fingerprint(tmp_path / "nowhere")


def test_a_large_model_is_saved_at_one_precision_and_still_recognised(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fromscratch.anatomy.relation.fingerprint_file.DIGESTS_AT_MOST", 1000)
    for name in ("base", "shuffled", "bf16"):
        save_fingerprint(fingerprint_of(zoo, name), tmp_path / name)
    assert load_file(tmp_path / "base")["0.rows"].shape[0] == 1
    base, shuffled, cast = (load_fingerprint(tmp_path / name) for name in ("base", "shuffled", "bf16"))
    truth = zoo.derived("shuffled").unit_maps
    verdict = compare_weights(base, shuffled)
    assert tuple(verdict.units[layer] for layer in range(4)) == truth
    assert [step.what for step in compare_weights(base, cast).steps] == ["cast"]


def test_a_coarser_choice_is_part_of_a_finer_one() -> None:
    for wanted in (1, 10, 100, 1000, 5000):
        coarse, fine = kept(5000, wanted), kept(5000, 2 * wanted)
        assert np.isin(coarse, fine).all() and len(coarse) > 0
    assert 60 < len(kept(20480, 128)) < 200
    assert (kept_columns(7168, 128).reshape(-1, 32) % 32 == np.arange(32)).all()
    assert len(kept_columns(70, 1000)) == 70


def test_two_samples_meet_where_both_kept_something() -> None:
    matrix = np.random.default_rng(0).normal(size=(3000, 640)).astype(np.float32)
    samples = [
        Sample(rows, columns, matrix[np.ix_(rows, columns)])
        for rows, columns in (sample_places(3000, 640, cells) for cells in (1 << 14, 1 << 17))
    ]
    one, other = common(*samples)
    assert np.array_equal(one, other) and one.size > 1000
