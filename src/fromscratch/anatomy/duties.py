"""What licences along a lineage ask for, and how much of it can be seen: declared, observed, or unknown.

Nothing here says what anybody may or must do. A licence is *declared* by a file or a model card, a copy or a notice is
*observed* in the folder or not, and what a folder cannot show is *unknown*.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fromscratch.anatomy.licence_rules import FAMILIES, RULES, Ask, Rule
from fromscratch.anatomy.relation.judgement import WeightVerdict
from fromscratch.anatomy.tensors import Checkpoint
from fromscratch.core.errors import FromScratchError

__all__ = ["Ancestor", "Declaration", "Duties", "Duty", "Standing", "declarations", "find_duties"]

Standing = Literal["declared", "observed", "not observed", "unknown"]

READ_AT_MOST = 1 << 20
PAPERS = re.compile(r"(^|/)(readme|licen[cs]e|notice|copying|use_policy|model_license|terms)[^/]*$", re.IGNORECASE)
REVISION = re.compile(r"/snapshots/([0-9a-f]{40})(/|$)")
BY_IDENTIFIER = {rule.identifier: rule for rule in RULES}


@dataclass(frozen=True)
class Declaration:
    """Something that a checkpoint says of itself."""

    what: Literal["licence", "base model", "name", "revision", "code"]
    value: str
    where: str
    """The file, or the key of its config."""
    rules: tuple[str, ...] = ()
    """Identifiers in ``licence_rules.RULES`` that it stands for."""


@dataclass(frozen=True)
class Ancestor:
    """A model whose weights the compared one holds or is said to hold."""

    name: str
    standing: Standing
    """``observed`` in the weights, or ``declared`` by a card."""
    evidence: str
    revision: str
    licences: tuple[str, ...]
    """Identifiers; more than one where they depend on a revision that is not known, none where nothing is known."""
    note: str = ""


@dataclass(frozen=True)
class Duty:
    """One thing that a licence of the lineage asks for, and whether the folder shows it."""

    licence: str
    """Its identifier in ``licence_rules.RULES``."""
    title: str
    """What the licence is called."""
    asks: str
    standing: Standing
    evidence: str
    source: str
    """Where the licence says so."""


@dataclass(frozen=True)
class Duties:
    """Lineage, what is asked along it, and what was declared on both sides."""

    child: str
    lineage: tuple[Ancestor, ...]
    duties: tuple[Duty, ...]
    declared: dict[str, tuple[Declaration, ...]]
    """By ``a`` and ``b``."""
    remarks: tuple[str, ...]

    @property
    def missing(self) -> tuple[Duty, ...]:
        """What was looked for in the folder and is not there."""
        return tuple(duty for duty in self.duties if duty.standing == "not observed")


def find_duties(a: Checkpoint, b: Checkpoint, verdict: WeightVerdict) -> Duties:
    """What the licences along the lineage of the derived one of the two ask for.

    The lineage starts with what the weights show and goes on with what model cards declare; duties are looked for in
    the folder of the derived model. Independent weights leave each model with its own declarations.
    """
    declared = {"a": declarations(a), "b": declarations(b)}
    child, parent = ("a", "b") if verdict.direction == "a from b" else ("b", "a")
    sides = {"a": a, "b": b}
    lineage = []
    remarks = [
        "Declarations are what files say; whether a licence binds, and whether weights are a derived work, is not for "
        "this page to say."
    ]
    if verdict.relation.is_lineage:
        lineage.append(_observed(sides[parent], declared[parent], verdict))
        if verdict.direction is None:
            remarks.append(
                "Weights do not show which of the two came first; A is read as the parent because it was named first."
            )
        lineage += _declared_ancestors(declared[parent], sides[parent].place)
    lineage += [
        each for each in _declared_ancestors(declared[child], sides[child].place) if each.name not in _names(lineage)
    ]
    asked = _rules_along(lineage)
    duties = tuple(duty for rule in asked for duty in _looked_for(rule, sides[child], declared[child]))
    remarks += _remarks(lineage, declared[child])
    return Duties(sides[child].place, tuple(lineage), duties, declared, tuple(remarks))


def _names(lineage: Sequence[Ancestor]) -> set[str]:
    return {each.name for each in lineage}


def _remarks(lineage: Sequence[Ancestor], child: Sequence[Declaration]) -> Iterable[str]:
    if any(not each.licences for each in lineage):
        yield "An ancestor without a known licence leaves what it asks for unknown, which is not the same as nothing."
    code = [each for each in child if each.what == "code"]
    if code:
        yield "Code has a lineage of its own: " + "; ".join(f"{each.where}: {each.value}" for each in code) + "."


def _observed(parent: Checkpoint, declared: Sequence[Declaration], verdict: WeightVerdict) -> Ancestor:
    licences = [each for each in declared if each.what == "licence"]
    rules = tuple(dict.fromkeys(rule for each in licences for rule in each.rules))
    revision = next((each.value for each in declared if each.what == "revision"), "unknown")
    name = next((each.value for each in declared if each.what == "name"), parent.place)
    told, note = ", ".join(each.value for each in licences), ""
    if not licences:
        rules, note = _family(name)
    elif not rules:
        note = f"declares {told}, which is not in the table of known licences"
    elif any(len(each.rules) > 1 for each in licences):
        note = "what it declares was said of several revisions of the licence; its text would tell which"
    return Ancestor(name, "observed", verdict.summary, revision, rules, note)


def _declared_ancestors(declared: Sequence[Declaration], place: str) -> list[Ancestor]:
    bases = [each for each in declared if each.what == "base model"]
    return [
        Ancestor(base.value, "declared", f"{base.where} of {place} names it", "unknown", *_family(base.value))
        for base in bases
    ]


def _family(name: str) -> tuple[tuple[str, ...], str]:
    """The licences that a name is known to be under, and what has to be said about them."""
    for family in FAMILIES:
        if re.search(family.pattern, name.lower()):
            return family.rules, family.note or "its licence is known by its name, not read from its files"
    return (), "no licence is declared for it here, and its name is not in the table of known families"


def _rules_along(lineage: Sequence[Ancestor]) -> list[Rule]:
    return [
        BY_IDENTIFIER[each] for each in dict.fromkeys(licence for ancestor in lineage for licence in ancestor.licences)
    ]


# ---- What the folder of the derived model shows


def _looked_for(rule: Rule, child: Checkpoint, declared: Sequence[Declaration]) -> Iterable[Duty]:
    papers = {name: _plain(text) for name, text in _papers(child).items()}
    for ask in rule.asks:
        standing, evidence = _seen(ask, rule, papers, declared, child)
        yield Duty(rule.identifier, rule.title, ask.told, standing, evidence, rule.source)


def _seen(
    ask: Ask, rule: Rule, papers: dict[str, str], declared: Sequence[Declaration], child: Checkpoint
) -> tuple[Standing, str]:
    if ask.kind == "terms":
        return "unknown", "nothing in a folder can show it"
    if ask.kind == "name":
        name = next((each.value for each in declared if each.what == "name"), "")
        if not name:
            return "unknown", "the model does not say what it is called"
        begins = name.rpartition("/")[2].lower().startswith(ask.phrase.lower())
        return ("observed" if begins else "not observed"), f"it is called {name}"
    wanted = rule.marks if ask.kind == "copy" else (_plain(ask.phrase),)
    for name, text in papers.items():
        if all(mark in text for mark in wanted):
            return "observed", name
    if not child.other_files:
        return "unknown", "only the weights are here, not their folder"
    return "not observed", "no licence, notice or card of the folder holds it"


def _plain(text: str) -> str:
    """Lower case, single spaces, no mark-up; © as (c) and typographic quotes as plain ones."""
    text = text.lower().replace("©", "(c)").replace("“", '"').replace("”", '"').replace("’", "'")
    return re.sub(r"[\s*_#>|]+", " ", text)


def _papers(checkpoint: Checkpoint) -> dict[str, str]:
    return {name: _read(checkpoint, name) for name in checkpoint.other_files if PAPERS.search(name)}


def _read(checkpoint: Checkpoint, name: str) -> str:
    try:
        return checkpoint.read_file(name)[:READ_AT_MOST].decode("utf-8", "replace")
    except (OSError, FromScratchError):
        return ""


# ---- What a checkpoint says of itself


def declarations(checkpoint: Checkpoint) -> tuple[Declaration, ...]:
    """Licences, base models, name and revision that a checkpoint declares in its files, card or metadata."""
    found = [*_from_papers(checkpoint), *_from_config(checkpoint)]
    revision = REVISION.search(str(checkpoint.place))
    if revision:
        found.append(Declaration("revision", revision[1], "its place in the hub's cache"))
    for name in checkpoint.other_files:
        if name.endswith(".py"):
            found.append(Declaration("code", _code_licence(_read(checkpoint, name)), name))
    return tuple(dict.fromkeys(found))


def _from_papers(checkpoint: Checkpoint) -> Iterable[Declaration]:
    for name, text in _papers(checkpoint).items():
        if not name.lower().endswith("readme.md"):
            plain = _plain(text)
            for rule in RULES:
                if re.search(r"licen[cs]e|copying|terms", name.lower()) and all(mark in plain for mark in rule.marks):
                    yield Declaration("licence", rule.title, name, (rule.identifier,))
            continue
        front = front_matter(text)
        for key in ("license", "license_name"):
            for value in front.get(key, ()):
                if value.lower() != "other":
                    yield Declaration("licence", value, f"{name}, {key}", _tagged(value))
        for value in front.get("base_model", ()):
            yield Declaration("base model", value, f"{name}, base_model")
        for value in front.get("model_name", ()):
            yield Declaration("name", value, f"{name}, model_name")


def _from_config(checkpoint: Checkpoint) -> Iterable[Declaration]:
    config: dict[str, Any] = dict(checkpoint.config)
    for key in ("license", "general.license", "general.license.name"):
        if isinstance(config.get(key), str) and config[key].lower() != "other":
            yield Declaration("licence", config[key], key, _tagged(config[key]))
    for key in ("_name_or_path", "general.name"):
        if isinstance(config.get(key), str) and config[key]:
            yield Declaration("name", config[key], key)
    for key, value in config.items():
        if re.fullmatch(r"general\.base_model\.\d+\.name", key):
            yield Declaration("base model", str(value), key)
    if isinstance(config.get("_commit_hash"), str):
        yield Declaration("revision", config["_commit_hash"], "_commit_hash")


def _tagged(value: str) -> tuple[str, ...]:
    known = [rule.identifier for rule in RULES if value.lower() in (*rule.tags, rule.identifier.lower())]
    return tuple(known)


def _code_licence(text: str) -> str:
    """What the head of a source file declares."""
    head = _plain(text[:4000])
    copyright_line = re.search(r"copyright.{0,100}", text[:4000], re.IGNORECASE)
    licence = "Apache-2.0" if "apache license, version 2.0" in head else "MIT" if "mit license" in head else None
    declared = f"declares {licence}" if licence else "declares no licence that is known here"
    return f"{declared}, {copyright_line[0].strip()}" if copyright_line else declared


def front_matter(text: str) -> dict[str, tuple[str, ...]]:
    """The flat part of a model card's YAML head: scalars and lists of scalars, by key, as tuples."""
    head = re.match(r"\s*---\s*\n(.*?)\n---", text, re.DOTALL)
    found: dict[str, tuple[str, ...]] = {}
    key = ""
    for line in head[1].splitlines() if head else ():
        if item := re.match(r"\s*-\s+(.+)", line):
            found[key] = (*found.get(key, ()), _scalar(item[1]))
        elif pair := re.match(r"([A-Za-z_]+):\s*(.*)", line):
            key, value = pair[1], pair[2].strip()
            values = value[1:-1].split(",") if value.startswith("[") else [value]
            found[key] = tuple(_scalar(each) for each in values if each.strip())
    return found


def _scalar(text: str) -> str:
    return re.sub(r"\s+#.*$", "", text.strip()).strip().strip("\"'")
