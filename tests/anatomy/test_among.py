"""One model against a folder of fingerprints, and the verbs `compare` and `fingerprint` from end to end."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fromscratch.anatomy.among import compare_among, write_fingerprint
from fromscratch.anatomy.relation.judgement import Relation
from fromscratch.cli import main
from fromscratch.core.errors import FromScratchError
from tests.anatomy.zoo import Zoo

Place = Callable[[str], Path]


@pytest.fixture(scope="module")
def place(zoo: Zoo, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Writes a model of the zoo, or what was made of one, as a file."""

    folder = tmp_path_factory.mktemp("models")

    def write(name: str) -> Path:
        path = folder / f"{name}.safetensors"
        arrays = zoo.models[name] if name in zoo.models else zoo.derived(name).arrays
        save_file({each: np.ascontiguousarray(array) for each, array in arrays.items()}, path)
        return path

    return write


@pytest.fixture(scope="module")
def fingerprints(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fingerprints")
    for name in ("other_seed", "tuned_on_poems", "same_seed", "base", "tuned"):
        write_fingerprint(place(name), folder / f"{name}.fingerprint")
    return folder


def test_the_nearest_of_many_comes_first_and_strangers_last(place: Place, fingerprints: Path) -> None:
    found = compare_among(place("lora_merged"), fingerprints)
    relations = {each.file.removesuffix(".fingerprint"): each.verdict.relation for each in found.candidates}
    assert {name for name, relation in relations.items() if relation.is_lineage} == {"base", "tuned", "tuned_on_poems"}
    assert relations["base"] == Relation.LOW_RANK
    assert list(relations)[-2:] == ["same_seed", "other_seed"]
    assert relations["same_seed"] == Relation.SHARED_INITIALISATION
    assert found.candidates[-1].log10_p > -1 > found.candidates[0].log10_p


@pytest.mark.parametrize("name", ["linear_merge"])
def test_a_merge_is_told_from_a_tuning_when_its_parents_are_known(
    zoo: Zoo, place: Place, fingerprints: Path, name: str
) -> None:
    found = compare_among(place(name), fingerprints)
    assert found.merge is not None and found.merge.relation == Relation.MERGED
    shares = {Path(share.place).stem: share.weight for share in found.merge.parents}
    truth = dict(zip(zoo.derived(name).parents, zoo.derived(name).shares, strict=True))
    assert {parent: shares[parent] for parent in truth} == pytest.approx(truth, abs=0.01)
    assert all(abs(weight) < 0.01 for parent, weight in shares.items() if parent not in truth)


def test_p_values_are_corrected_for_how_many_are_asked(place: Place, fingerprints: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "same_seed.fingerprint").write_bytes((fingerprints / "same_seed.fingerprint").read_bytes())
    model = place("base")
    among = {each.file: each.log10_p for each in compare_among(model, fingerprints).candidates}
    assert among["same_seed.fingerprint"] > compare_among(model, alone).candidates[0].log10_p


def test_a_folder_without_fingerprints_is_refused(place: Place, tmp_path: Path) -> None:
    with pytest.raises(FromScratchError, match="no fingerprints"):
        compare_among(place("base"), tmp_path)


def test_the_verbs_from_end_to_end(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, tuned = str(place("base")), str(place("tuned"))
    page = tmp_path / "page.html"
    assert main(["compare", base, tuned, "--json", "--html", str(page)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["weights"]["relation"] == "fine-tuned" and page.read_text(encoding="utf-8").startswith(
        "<!doctype html>"
    )
    assert main(["fingerprint", base, "--out", str(tmp_path / "base.fingerprint")]) == 0
    assert "MB, digest" in capsys.readouterr().out
    assert main(["compare", tuned, "--among", str(tmp_path)]) == 0
    assert "fine-tuned" in capsys.readouterr().out
    for wrong in ([base], [base, tuned, "--among", str(tmp_path)]):
        assert main(["compare", *wrong]) == 2
        assert "compare takes two models" in capsys.readouterr().err
