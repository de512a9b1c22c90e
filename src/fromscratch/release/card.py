"""The papers of a release: model card, LICENSE and NOTICE, written from the artifacts and the recipe alone."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fromscratch.core.files import atomic_write
from fromscratch.corpus.settings import CorpusSettings
from fromscratch.corpus.sources import FilesSource, Package, PackageSource
from fromscratch.release.evidence import Evidence
from fromscratch.release.funnel import funnel_chapter, sources_chapter
from fromscratch.release.licences import license_remarks
from fromscratch.release.settings import BUNDLED_LICENSE, ReleaseSettings
from fromscratch.release.tables import (
    answer_rows,
    dialogue_rows,
    ordered_scores,
    score_row,
    shape_rows,
    training_text,
)
from fromscratch.release.usage import chat_snippet
from fromscratch.release.wording import (
    by_language,
    bytes_text,
    count,
    in_sentence,
    language_name,
    listed,
    short_count,
)

__all__ = ["write_papers"]

HERE = Path(__file__).parent
UNDECLARED = "not declared in the recipe"

Row = dict[str, Any]


def write_papers(
    folder: Path,
    evidence: Evidence,
    packages: Mapping[str, Package],
    corpus: CorpusSettings,
    release: ReleaseSettings,
    name: str,
) -> None:
    """Write README.md, LICENSE and NOTICE into ``folder``. They hold no times, so equal inputs give equal papers."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown and plain text; what goes into a table is escaped by `cell`
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    environment.filters["wrapped"] = lambda text: textwrap.fill(text, 80, subsequent_indent=" " * 15)
    bundled = HERE / "licences" / f"{BUNDLED_LICENSE}.txt"
    papers = {
        "README.md": environment.get_template("card.md.jinja").render(card(evidence, release, name)),
        "NOTICE": environment.get_template("notice.txt.jinja").render(
            name=name, license=release.license, sources=notices(evidence, packages, corpus)
        ),
        "LICENSE": release.license_text or bundled.read_text(encoding="utf-8"),
    }
    for file, text in papers.items():
        with atomic_write(folder / file) as temporary:
            temporary.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def card(evidence: Evidence, release: ReleaseSettings, name: str) -> Row:
    """What the template of the model card asks for."""
    funnel = funnel_chapter(evidence.funnel)
    scores = [score_row(*each) for each in ordered_scores(evidence.scores)]
    kept = evidence.funnel["steps"][-1]["kept_by_language"]
    dialogues = dialogue_rows(evidence)
    spoken = [in_sentence(language) for language, _ in by_language(kept)]
    return {
        "name": name,
        "description": release.description.strip(),
        "languages": release.languages,
        "license": release.license,
        "license_id": release.license.lower(),
        "parameters": short_count(evidence.parameters),
        "trained_tokens": short_count(evidence.scores["trained_tokens"]),
        "trained_on": listed(spoken),
        "spoken": listed([each for each in spoken if each != "code"]),
        "shape": shape_rows(evidence),
        "snippet": chat_snippet("."),
        "corpus": funnel["lead"],
        "sources": sources_chapter(evidence.funnel["sources"])["rows"],
        "steps": [{**each, "dropped": _losses(each["dropped"])} for each in funnel["steps"]],
        "tuning_data": listed([f"{each['conversations']} conversations of `{each['name']}`" for each in dialogues]),
        "tokens": _tokens(evidence),
        "training": training_text(evidence),
        "scores": [{**each, "title": f"{'' if each['is_language'] else '– '}{each['title']}"} for each in scores],
        "answers": answer_rows(evidence.scores),
        "context": count(evidence.model["settings"]["context_tokens"]),
        "behind": _behind(evidence.scores),
    }


def notices(evidence: Evidence, packages: Mapping[str, Package], corpus: CorpusSettings) -> list[Row]:
    """Each source of text and of dialogues, by name: licence, attribution, where it is from, what it was used for."""
    found = []
    for name, source in sorted(corpus.sources.items()):
        sizes = evidence.funnel["sources"].get(name, {"kept_documents": 0})
        use = "nothing: all of it was dropped"
        if sizes["kept_documents"]:
            use = f"pretraining, {count(sizes['kept_documents'])} documents, {bytes_text(sizes['kept_bytes'])} of text"
        if isinstance(source, PackageSource):
            found.append(_from_packages(name, [packages[each] for each in source.package_names], source.license, use))
        else:
            found.append(_from_files(name, source, use))
    for name, dialogues in sorted(evidence.recipe["tune"]["dialogues"].items()):
        if dialogues.get("package") is not None:
            package = packages[dialogues["package"]]
            found.append(_from_packages(f"dialogues {name}", [package], dialogues.get("license"), "chat tuning"))
        elif dialogues.get("path") is not None:
            license_ = dialogues.get("license") or UNDECLARED
            origin = "files of this machine"
            found.append(_notice(f"dialogues {name}", license_, dialogues.get("notice", ""), origin, "chat tuning"))
    return found


def _from_packages(name: str, packages: Sequence[Package], license_: str | None, use: str) -> Row:
    """The licence, attributions and addresses of all packages that a source reads, each said once."""
    licences = dict.fromkeys([license_] if license_ else [each.license for each in packages])
    attributions = dict.fromkeys(each.notice for each in packages if each.notice)
    origins = [f"{each.name} {each.version}" + (f", {each.url}" if each.url else "") for each in packages]
    return _notice(name, " AND ".join(licences), "; ".join(attributions), "; ".join(origins), use)


def _from_files(name: str, source: FilesSource, use: str) -> Row:
    return _notice(name, source.license, source.notice, source.url or "files of this machine", use)


def _notice(name: str, license_: str, attribution: str, origin: str, use: str) -> Row:
    remarks = list(license_remarks(license_).values())
    return {"name": name, "license": license_, "notice": attribution, "origin": origin, "use": use, "remarks": remarks}


def _losses(dropped: list[Row]) -> str:
    parts = [
        f"{each['reason']} {each['bytes']}" + (f" ({each['documents']} documents)" if each["documents"] else "")
        for each in dropped
    ]
    return ", ".join(parts) or "nothing"


def _tokens(evidence: Evidence) -> list[Row]:
    tokens: dict[str, int] = {}
    for group, each in evidence.index["groups"].items():
        language = group.partition("/")[0]
        tokens[language] = tokens.get(language, 0) + each["train"]["tokens"]
    measured = evidence.measure["by_language"]
    return [
        {
            "title": language_name(language),
            "tokens": count(number),
            "bytes_per_token": f"{measured[language]['bytes_per_token']:.2f}" if language in measured else "–",
        }
        for language, number in by_language(tokens)
    ]


def _behind(scores: Mapping[str, Any]) -> str:
    """The groups in which the bigram is as good or better, in words; empty when there are none."""
    return listed([group for group, row in sorted(scores["bits_per_byte"].items()) if row["model"] >= row["bigram"]])
