"""Model card, NOTICE, wording, settings and the last lines of a run."""

from pathlib import Path

import pytest
import yaml

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import validate_settings
from fromscratch.corpus.settings import CorpusSettings
from fromscratch.corpus.sources import Package
from fromscratch.release.card import write_papers
from fromscratch.release.closing import closing_lines
from fromscratch.release.evidence import gather
from fromscratch.release.licences import license_remarks
from fromscratch.release.settings import ReleaseSettings
from fromscratch.release.wording import by_language, bytes_text, change, duration, listed, share, short_count
from tests.release.conftest import MadeRun

PACKAGES = {
    "wiki": Package(
        requirement="wiki==1.0", sha256="0" * 64, license="CC-BY-SA-4.0", notice="By Wikipedia's contributors.",
        url="https://example.org/wiki",
    ),
    "chat": Package(requirement="chat-corpus==2.0", sha256="1" * 64, license="BSD-3-Clause"),
    "aiml": Package(requirement="aiml==3.0", sha256="2" * 64, license="GPL-3.0-or-later", notice="Free chat files."),
}  # fmt: skip
CORPUS = CorpusSettings.model_validate(
    {
        "sources": {
            name: {"kind": "package", "package": package, "domain": "text", "members": ["**"]}
            for name, package in (("wikipedia_en", "wiki"), ("wikipedia_fr", "wiki"), ("aiml", "aiml"))
        }
        | {"mine": {"kind": "files", "path": "mine", "domain": "text", "license": "CC0-1.0", "notice": "All mine."}}
    }
)


@pytest.fixture(scope="module")
def papers(made_run: MadeRun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("papers")
    settings = ReleaseSettings(languages=("en", "no"), description="Two | bars.")
    write_papers(folder, gather(made_run.inputs, made_run.ledger), PACKAGES, CORPUS, settings, "tiny")
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_the_header_of_the_card_is_yaml_in_which_norwegian_is_no_boolean(papers: dict[str, str]) -> None:
    header = yaml.safe_load(papers["README.md"].split("---\n")[1])
    assert header["language"] == ["en", "no"] and header["license"] == "apache-2.0"
    assert header["library_name"] == "transformers"


def test_every_table_of_the_card_has_rows_of_equal_width(papers: dict[str, str]) -> None:
    for block in papers["README.md"].split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.replace("\\|", "").count("|") for row in rows}) <= 1, rows
        assert not rows or len(rows) > 2


def test_the_card_says_where_the_model_loses(papers: dict[str, str]) -> None:
    assert "- It does not beat the bigram baseline on en/encyclopedia." in papers["README.md"]
    assert (
        "| – encyclopedia | 62.0\u00a0kB | 3.178 | 2.411 | 2.188 | 2.201 | 2.214 | +0.6\u00a0% |" in papers["README.md"]
    )
    assert "13 min" not in papers["README.md"], "times would make equal runs unequal"


def test_the_notice_names_each_source_with_licence_attribution_address_and_remark(papers: dict[str, str]) -> None:
    blocks = {block.strip().splitlines()[0]: block for block in papers["NOTICE"].split("-" * 72)[1:]}
    assert list(blocks) == ["aiml", "mine", "wikipedia_en", "wikipedia_fr", "dialogues chatterbot"]
    wikipedia = blocks["wikipedia_en"]
    assert "CC-BY-SA-4.0" in wikipedia and "By Wikipedia's contributors." in wikipedia
    assert "wiki 1.0, https://example.org/wiki" in wikipedia and "4.80\u00a0MB of text" in wikipedia
    assert "remark       CC-BY-SA-4.0 asks that adapted text is shared" in wikipedia
    assert "remark       GPL-3.0-or-later asks" in blocks["aiml"]
    assert "nothing: all of it was dropped" in blocks["wikipedia_fr"]
    assert "BSD-3-Clause" in blocks["dialogues chatterbot"] and "remark" not in blocks["dialogues chatterbot"]
    assert max(map(len, papers["NOTICE"].splitlines())) < 120


def test_the_licence_is_the_whole_text_of_the_one_that_was_chosen(made_run: MadeRun, tmp_path: Path) -> None:
    evidence = gather(made_run.inputs, made_run.ledger)
    write_papers(tmp_path, evidence, PACKAGES, CORPUS, ReleaseSettings(), "tiny")
    assert "Grant of Patent License" in (tmp_path / "LICENSE").read_text(encoding="utf-8")
    mit = ReleaseSettings(license="MIT", license_text="Permission is hereby granted …")
    write_papers(tmp_path, evidence, PACKAGES, CORPUS, mit, "tiny")
    assert (tmp_path / "LICENSE").read_text(encoding="utf-8") == "Permission is hereby granted …\n"
    assert 'license: "mit"' in (tmp_path / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"license": "MIT"}, "`release.license` = 'MIT' has no text"),
        ({"languages": ["English"]}, 'languages.0` = "English" is refused'),
        ({"model_name": "a b"}, 'model_name` = "a b" is refused'),
        ({"licence": "MIT"}, "`licence` is not a setting"),
        ({"generation": {"temperature": -1}}, "`generation.temperature` = -1 is refused"),
    ],
)
def test_settings_that_make_no_release_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(FromScratchError) as refused:
        validate_settings(ReleaseSettings, given, "recipe.toml")
    assert message.replace("release.", "") in refused.value.message


def test_licences_that_ask_for_more_get_a_remark() -> None:
    assert license_remarks("MIT") == license_remarks("LicenseRef-Public-Domain") == {}
    assert list(license_remarks("MIT AND CC-BY-SA-4.0")) == ["share-alike"]
    assert list(license_remarks("CC-BY-NC-SA-4.0")) == ["non-commercial"]
    assert list(license_remarks("LGPL-2.1-or-later OR GPL-2.0-only")) == ["weak copyleft", "copyleft"]


def test_numbers_are_written_for_people() -> None:
    texts = [
        short_count(5_241_856), short_count(999), short_count(999_600), bytes_text(96_400_000), bytes_text(12),
        share(1, 100_000), share(0, 5), share(99_999, 100_000), share(5, 5), change(1.5, 2.0), change(2.2, 2.0),
        duration(4.24), duration(59.97), duration(725), duration(12_000),
    ]  # fmt: skip
    assert [text.replace("\u00a0", " ") for text in texts] == [
        "5.24 M", "999", "1.00 M", "96.4 MB", "12 B",
        "< 0.1 %", "0 %", "> 99.9 %", "100 %", "−25.0 %", "+10.0 %",
        "4.2 s", "1 min 00 s", "12 min 05 s", "3 h 20 min",
    ]  # fmt: skip
    assert (listed([]), listed(["a"]), listed(["a", "b", "c"])) == ("", "a", "a, b and c")
    assert [name for name, _ in by_language(dict.fromkeys(("code", "zh", "und", "fr", "en")))] == [
        "en", "zh", "fr", "code", "und",
    ]  # fmt: skip


def test_the_last_lines_can_be_pasted_whatever_the_folder_is_called() -> None:
    lines = closing_lines(Path("runs/my demo"))
    assert lines[0].endswith("runs/my demo/release/model") and lines[1].endswith("runs/my demo/report/report.html")
    assert lines[2] == "chat      fromscratch chat 'runs/my demo/release/model'"
