"""Licences along a lineage: what is declared, what is observed in the folder, and what stays unknown."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from fromscratch.anatomy.duties import Duties, declarations, find_duties, front_matter
from fromscratch.anatomy.licence_rules import FAMILIES, RULES
from fromscratch.anatomy.relation.judgement import Relation, WeightVerdict
from fromscratch.anatomy.tensors import Checkpoint

APACHE = (Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8")
LLAMA_2_CARD = "---\nlicense: llama2\nmodel_name: Llama-2-7b\n---\n# Llama 2\n"
LLAMA_2_TEXT = "LLAMA 2 COMMUNITY LICENSE AGREEMENT\nLlama 2 Version Release Date: July 18, 2023\n…"
LLAMA_2_NOTICE = (
    "Llama 2 is licensed under the LLAMA 2\nCommunity License, Copyright © Meta Platforms, Inc. All Rights Reserved."
)
FINE_TUNED = WeightVerdict(Relation.FINE_TUNED, "B is A, fine-tuned")


def folder(place: str, files: Mapping[str, str], **config: object) -> Checkpoint:
    return Checkpoint(place, "safetensors", {}, config, tuple(files), lambda name: files[name].encode())


def standings(found: Duties) -> dict[str, str]:
    return {duty.asks: duty.standing for duty in found.duties}


def test_a_tuned_llama_without_papers_lacks_a_copy_and_a_notice() -> None:
    parent = folder("llama", {"README.md": LLAMA_2_CARD})
    found = find_duties(parent, folder("tuned", {"README.md": "# My model\n"}), FINE_TUNED)
    assert [(each.name, each.standing) for each in found.lineage] == [("Llama-2-7b", "observed")]
    assert {each.asks for each in found.missing} == {
        "a copy of the Llama 2 Community License Agreement",
        "its notice in a file called Notice",
    }
    assert standings(found)["outputs not used to improve models of other families"] == "unknown"


def test_papers_that_are_there_are_observed_however_they_are_set() -> None:
    papers = {"README.md": "# My model\n", "LICENSE.txt": LLAMA_2_TEXT, "Notice": LLAMA_2_NOTICE}
    found = find_duties(folder("llama", {"README.md": LLAMA_2_CARD}), folder("tuned", papers), FINE_TUNED)
    assert not found.missing
    assert {each.evidence for each in found.duties if each.standing == "observed"} == {"LICENSE.txt", "Notice"}


def test_independent_weights_ask_nothing_of_each_other() -> None:
    verdict = WeightVerdict(Relation.INDEPENDENT, "nothing in common")
    found = find_duties(folder("llama", {"README.md": LLAMA_2_CARD}), folder("other", {"README.md": ""}), verdict)
    assert found.lineage == () and found.duties == ()


def test_the_card_of_the_child_adds_ancestors_that_it_declares_itself() -> None:
    card = "---\nlicense: apache-2.0\nbase_model:\n- 01-ai/Yi-6B  # the base\n---\n"
    verdict = WeightVerdict(Relation.UNDECIDED, "not decided")
    found = find_duties(folder("some", {}), folder("child", {"README.md": card}), verdict)
    (yi,) = found.lineage
    assert (yi.name, yi.standing) == ("01-ai/Yi-6B", "declared")
    assert yi.licences == ("LicenseRef-Yi-1.0", "LicenseRef-Yi-2.1", "Apache-2.0") and "revision" in yi.note


def test_the_direction_says_whose_folder_is_looked_into() -> None:
    llama = folder("llama", {"README.md": LLAMA_2_CARD})
    backwards = replace(FINE_TUNED, direction="a from b")
    found = find_duties(folder("tuned", {"README.md": ""}), llama, backwards)
    assert found.child == "tuned" and found.lineage[0].name == "Llama-2-7b"
    undirected = find_duties(llama, folder("tuned", {"README.md": ""}), FINE_TUNED)
    assert any("which of the two came first" in each for each in undirected.remarks)


@pytest.mark.parametrize(
    ("released", "identifier"),
    [("Version: 1.0\nDate of Release: November 1", "1.0"), ("Community", "2.1"), (APACHE, "Apache-2.0")],
)
def test_the_three_licences_of_yi_are_told_apart_by_their_text(released: str, identifier: str) -> None:
    text = {
        "1.0": f"Yi Series Models License Agreement\n**{released}**",
        "2.1": "Yi Series Models Community License Agreement\nVersion: 2.1",
        "Apache-2.0": released,
    }[identifier]
    (licence,) = [each for each in declarations(folder("yi", {"LICENSE": text})) if each.what == "licence"]
    assert licence.rules[0].endswith(identifier) and licence.where == "LICENSE"


def test_a_name_that_was_said_of_two_revisions_stands_for_both() -> None:
    card = "---\nlicense: other\nlicense_name: yi-license\nmodel_name: Yi-34B\n---\n"
    found = find_duties(folder("yi", {"README.md": card}), folder("child", {"README.md": ""}), FINE_TUNED)
    assert found.lineage[0].licences == ("LicenseRef-Yi-1.0", "LicenseRef-Yi-2.1")
    assert "several revisions" in found.lineage[0].note


def test_revision_name_code_and_metadata_are_declarations() -> None:
    place = "/cache/models--01-ai--Yi-34B/snapshots/" + "0123456789abcdef" * 2 + "01234567"
    code = "# Copyright 2023 Someone\n# Licensed under the Apache License, Version 2.0 (the License)\n"
    declared = declarations(folder(place, {"modeling_yi.py": code}, _name_or_path="01-ai/Yi-34B"))
    assert {(each.what, each.value) for each in declared} == {
        ("revision", "0123456789abcdef" * 2 + "01234567"),
        ("name", "01-ai/Yi-34B"),
        ("code", "declares Apache-2.0, Copyright 2023 Someone"),
    }
    table = {"general.license": "llama3.1", "general.base_model.0.name": "Llama 3.1 8B"}
    gguf = declarations(Checkpoint("m.gguf", "gguf", {}, table))
    assert [each.what for each in gguf] == ["licence", "base model"] and "3.1" in gguf[0].rules[0]


def test_weights_without_a_folder_leave_papers_unknown() -> None:
    found = find_duties(folder("llama", {"README.md": LLAMA_2_CARD}), Checkpoint("b.gguf", "gguf", {}, {}), FINE_TUNED)
    assert not found.missing and set(standings(found).values()) == {"unknown"}


def test_an_ancestor_that_nobody_knows_is_said_to_be_unknown() -> None:
    found = find_duties(folder("mine", {}), folder("yours", {}), FINE_TUNED)
    assert found.lineage[0].licences == () and found.duties == ()
    assert any("not the same as nothing" in each for each in found.remarks)


def test_no_word_of_the_pages_says_that_somebody_violates_something() -> None:
    found = find_duties(folder("llama", {"README.md": LLAMA_2_CARD}), folder("tuned", {"README.md": ""}), FINE_TUNED)
    told = str(asdict(found)).lower() + str([asdict(rule) for rule in RULES]).lower()
    for word in ("violat", "infring", "breach", "illegal", "comply", "complian"):
        assert word not in told


def test_rules_are_found_by_their_tags_and_families_by_known_rules() -> None:
    tags = Counter(tag for rule in RULES for tag in rule.tags)
    assert [tag for tag, count in tags.items() if count > 1] == ["yi-license"]
    assert {each for family in FAMILIES for each in family.rules} <= {rule.identifier for rule in RULES}


def test_front_matter_is_read_without_a_library() -> None:
    head = "license: other\nlicense_name: 'yi-license'\nbase_model: [a/b, \"c/d\"]\ntags:\n- x\n- y # z"
    assert front_matter(f"---\n{head}\n---\nlicense: no") == {
        "license": ("other",),
        "license_name": ("yi-license",),
        "base_model": ("a/b", "c/d"),
        "tags": ("x", "y"),
    }
    assert front_matter("# no head") == {}
