"""Pages refused before they are parsed: by address, by size, as copies of the same bytes, and by their language."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from fromscratch.corpus.filters.language import Language
from fromscratch.corpus.filters.refusals import HOSTS, URL_WORDS, Refusals
from fromscratch.corpus.kernels.phrases import PhraseSet, compile_phrases, count_phrases
from fromscratch.corpus.kernels.refuse import LATIN, SAMPLES, SCRIPTS, read_scripts
from fromscratch.corpus.kernels.text_buffers import text_buffers, whole
from fromscratch.corpus.language import load_language_model
from fromscratch.corpus.learning.quantised_model import first_guesses

__all__ = ["Refused", "refuse_pages"]

WRITTEN_IN = {"zh": (1,), "ja": (1, 2), "ko": (1, 3)}  # scripts, as `SCRIPTS` has them; one is known of these alone
OF_SCRIPT = {4: ("ru", "uk", "bg", "sr", "mk", "be", "kk", "mn"), 5: ("el",), 6: ("ar", "fa", "ur", "he", "yi", "ps")}
ENGLISH = (b" the ", b" and ", b" of ", b" to ", b" is ")
BYTES_A_WORD = 60  # English has one of these words in 25 bytes, other languages in thousands
KANA_SHARE = 0.2  # of Han and kana together, above which a page is Japanese


class Refused(NamedTuple):
    """Reasons and evidence [pages], None for pages that go on."""

    reasons: NDArray[np.object_]
    evidence: NDArray[np.object_]


def refuse_pages(
    pages: pa.Table,
    ids: NDArray[np.object_],
    settings: Refusals,
    language: Language,
    models: Path,
    seen: dict[bytes, str],
) -> Refused:
    """Which pages of a reader's table are not worth parsing.

    ``seen`` has the id of the first page with each digest of those read before, and gets those of this table.
    """
    reasons, evidence = (np.full(len(pages), None, dtype=object) for _ in range(2))
    contents = whole(pages["content"])
    if settings.hosts or settings.url_words:
        _refuse_addresses(pages["url"].combine_chunks(), models, reasons, evidence)
    sizes = pc.binary_length(contents).to_numpy()
    is_html = np.asarray(pages["kind"], dtype=object) == "html"
    for failed, reason in (
        (sizes < settings.least_bytes, "too_few_bytes"),
        (is_html & (sizes > settings.most_html_bytes), "too_many_bytes"),
    ):
        reasons[failed], evidence[failed] = reason, [f"{size:,} bytes" for size in sizes[failed]]
    data, offsets = text_buffers(contents.view(pa.large_string()))
    view = data.data
    # A loop over pages: it only hands slices to a C function that hashes gigabytes a second.
    # Texts that need no parsing are left to the comparison with all documents.
    for place in np.flatnonzero(is_html & (reasons == None)):  # noqa: E711 (element by element)
        first = seen.setdefault(xxhash.xxh3_128_digest(view[offsets[place] : offsets[place + 1]]), ids[place])
        if first != ids[place]:
            reasons[place], evidence[place] = "same_payload", f"the same bytes as {first}"
    hinted = np.asarray(pages["language_hint"], dtype=object) != None  # noqa: E711
    asked = np.flatnonzero(is_html & ~hinted & (reasons == None))  # noqa: E711
    if settings.least_foreign_letters is not None and len(asked):
        _refuse_languages(contents.take(pa.array(asked)), asked, settings, language, reasons, evidence)
    return Refused(reasons, evidence)


def _refuse_addresses(
    urls: pa.StringArray, models: Path, reasons: NDArray[np.object_], evidence: NDArray[np.object_]
) -> None:
    hosts, words = _lists(models, (models / HOSTS).stat().st_mtime_ns)
    named = pc.struct_field(pc.extract_regex(urls, r"^[a-z]+://(?:[^/@]*@)?(?P<host>[^/:?#]+)"), "host").to_pylist()
    # A loop over pages, each of which has a few parents of its host.
    for place, host in enumerate(named):
        parts = (host or "").lower().split(".")
        for parent in (".".join(parts[first:]) for first in range(len(parts) - 1)):
            digest = np.uint64(xxhash.xxh3_64_intdigest(parent.encode()))
            at = int(np.searchsorted(hosts, digest))
            if at < len(hosts) and hosts[at] == digest:
                reasons[place], evidence[place] = "listed_host", parent
    first = count_phrases(urls.cast(pa.large_string()), words).first
    for place in np.flatnonzero(first >= 0).tolist():
        if named[place] is not None:
            reasons[place], evidence[place] = "listed_address", words.phrases[first[place]]


@lru_cache(maxsize=2)
def _lists(models: Path, written: int) -> tuple[NDArray[np.uint64], PhraseSet]:
    del written  # tells a new file under the same name
    words = (models / URL_WORDS).read_text(encoding="utf-8").splitlines()
    return np.load(models / HOSTS, mmap_mode="r"), compile_phrases(words)


def _refuse_languages(
    contents: pa.LargeBinaryArray,
    places: NDArray[np.int64],
    settings: Refusals,
    language: Language,
    reasons: NDArray[np.object_],
    evidence: NDArray[np.object_],
) -> None:
    letters, samples, lengths = read_scripts(*text_buffers(contents.view(pa.large_string())))
    total = letters.sum(axis=1)
    foreign = _foreign_scripts(letters, language)
    enough = total >= (settings.least_foreign_letters or 0)
    share = np.where(foreign, letters, 0).sum(axis=1) / np.maximum(total, 1)
    for each in np.flatnonzero(enough & (share >= settings.least_foreign_share)).tolist():
        script = SCRIPTS[int(np.where(foreign[each], letters[each], 0).argmax())]
        reasons[places[each]] = "foreign_script"
        evidence[places[each]] = f"{share[each]:.0%} of {total[each]:,} letters are not of a kept language: {script}"
    latin = enough & (share < settings.least_foreign_share) & (letters[:, LATIN] > 0.9 * total)
    # A loop over pages in Latin letters: the model has no batch call that gives probabilities, and takes 400 µs, which
    # most pages in English are spared by their own words.
    for each in np.flatnonzero(latin).tolist():
        if "en" in language.keep and _is_plainly_english(samples[each, 0, : lengths[each, 0]].tobytes()):
            continue
        guesses: list[str] = []
        while len(guesses) < SAMPLES:
            name, score = _guess(samples[each, len(guesses), : lengths[each, len(guesses)]].tobytes())
            if name in language.keep or score < settings.least_foreign_score:
                break
            guesses.append(f"{name}, probability {score:.2f}")
        else:
            reasons[places[each]], evidence[places[each]] = "foreign_language", "; ".join(guesses)


def _foreign_scripts(letters: NDArray[np.int64], language: Language) -> NDArray[np.bool_]:
    """bool[pages, SCRIPTS]: in which scripts no language is written that is kept."""
    kept = {LATIN} if set(language.keep) - {"code", *WRITTEN_IN, *sum(OF_SCRIPT.values(), ())} else set()
    kept |= {script for name in language.keep for script in WRITTEN_IN.get(name, ())}
    kept |= {script for script, names in OF_SCRIPT.items() if {*names} & {*language.keep}}
    foreign = np.ones(letters.shape, np.bool_)
    foreign[:, sorted(kept)] = False
    if set(language.keep) - {"code", "en", "zh"}:
        foreign[:, len(SCRIPTS) - 1] = False  # who keeps more languages may keep one of those scripts
    elif "ja" not in language.keep:
        han_and_kana = letters[:, 1] + letters[:, 2]
        foreign[letters[:, 2] > KANA_SHARE * np.maximum(han_and_kana, 1), 1] = True  # Han as the Japanese write it
    return foreign


def _is_plainly_english(sample: bytes) -> bool:
    return sum(sample.count(word) for word in ENGLISH) * BYTES_A_WORD >= len(sample)


def _guess(sample: bytes) -> tuple[str, float]:
    text = " ".join(sample.decode("utf-8", errors="ignore").split())
    return first_guesses(load_language_model(), pa.array([text], pa.large_string()))[0]
