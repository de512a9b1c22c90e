"""Documents full of listed words go."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fromscratch.core.files import atomic_write
from fromscratch.corpus.filters.filter import Batch, Filter, ReadExamples, Verdict, no_reasons
from fromscratch.corpus.kernels.metrics import Metric

if TYPE_CHECKING:
    from fromscratch.corpus.kernels.phrases import PhraseSet

__all__ = ["SOBER", "Words"]

LISTS = Path(__file__).parent.parent / "lists"
MADE = "words.txt"  # below the folder of models: what the recipe's own lists say
NAMED = 6  # different words that the evidence shows at most

# Of the built-in lists: what medicine, law, zoology, history, cloud documentation and grown-up literature cannot do
# without, and innocent words in which a listed one is found. Read out of encyclopedia entries, reviews and novels.
SOBER = """
anus|bastard|bastards|bondage|butt|clitoris|cock|cocks|coon|coons|dick|domination|dominatrix|ejaculation|erotic|
erotism|escort|eunuch|fecal|fellatio|fingering|genitals|grope|hard core|hardcore|homoerotic|hooker|how to kill|
incest|intercourse|lolita|lovemaking|masturbation|missionary position|negro|nipple|nipples|nude|nudity|orgasm|orgy|
panties|panty|pedophile|paedophile|penis|playboy|pornography|rape|raping|rapist|rectum|sadism|santorum|scat|semen|sex|
sexual|sexuality|sexually|snatch|sodomy|spastic|spunk|suck|sucks|swastika|swinger|tied up|topless|twink|vagina|viagra|
vibrator|voyeur|vulva|whore|white power|xx|xxx|yaoi|
13.|13点|乳房|乳头|交配|九游|军妓|刚度|包皮|十三点|卵子|吹箫|后庭|处女|外阴|奸|妓|妓女|妓院|妈妈的|他妈妈|她妈妈|你妈妈|你娘家|
屁股|巨乳|强奸|性交|性器|性无能|性爱|情色|成人|招妓|撒尿|放荡|日你|月经|杂种|激情|狗屁|白痴|白癡|祖宗|私服|笨蛋|精子|老二|老母|
老味|色情|花柳|贱人|迷药|野鸡|阳萎|阴唇|阴道|阴部|阴茎|靠背|轮奸|嫖客|嫖娼|射精|卖淫|淫秽|淫乱|龟头|鸡鸡|小鸡鸡|你全家|奶子|打炮|扒光
""".replace("\n", "").split("|")  # fmt: skip


class Words(Filter):
    """Word lists, which are followed only where a document has many listed words.

    C4 (Raffel et al. 2019, arXiv 1910.10683) dropped every page with a single one. That removed texts about medicine,
    law and minorities (Dodge et al. 2021, 2104.08758, section 5), and a Chinese entry may lie within innocent words.
    """

    columns: ClassVar[Mapping[str, str]] = {"listed_words": "float32"}

    built_in: tuple[Literal["en", "zh"], ...] = ("en", "zh")
    """Languages whose list of `naughty-words` (CC BY 4.0) is used."""

    lists: tuple[str, ...] = ()
    """More words, from those of `corpus.examples`: one word or phrase to a line."""

    allowed: tuple[str, ...] = tuple(SOBER)
    """Words that do not count though they are listed, nor does a listed word that lies within one of them. Ours."""

    least_different: int = Field(default=3, ge=1)
    """So many different listed words a document must have before it goes. Ours."""

    least_share: float = Field(default=0.01, ge=0, le=1)
    """And such a share of its characters must be within listed words. Ours; of 104,000 encyclopedia entries, idioms,
    reviews, chapters of novels and pages of documentation, this and the bound before it drop one."""

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        return {"lists": self.lists}

    def prepare(self, folder: Path, read: ReadExamples) -> None:
        """Put the lines of the recipe's lists into one file."""
        lines = [line.strip() for name in self.lists for _, text in read(name) for line in text.splitlines()]
        with atomic_write(folder / MADE) as path:
            path.write_text("\n".join(sorted({each for each in lines if each})), encoding="utf-8")

    def judge(self, batch: Batch) -> Verdict:
        """`listed_words`, with how many there are and some of them. Code is not looked at."""
        from fromscratch.corpus.kernels.phrases import find_phrases

        phrases, listed = _compiled(self, batch.models)
        matches = find_phrases(batch.texts, phrases)
        counts = listed[matches.phrases]
        texts, found = matches.texts[counts], matches.phrases[counts]
        lengths = (matches.ends - matches.starts)[counts].astype(np.float64)
        pairs = np.unique(texts * len(phrases.phrases) + found)
        different = np.bincount(pairs // len(phrases.phrases), minlength=len(batch))
        share = np.bincount(texts, lengths, len(batch)) / np.maximum(batch.metrics[:, Metric.CHARACTERS], 1)
        reasons, evidence = no_reasons(batch), no_reasons(batch)
        dropped = (different >= self.least_different) & (share >= self.least_share) & (batch.languages != "code")
        for place in np.flatnonzero(dropped):
            words = dict.fromkeys(phrases.phrases[each] for each in found[texts == place])
            some = ", ".join(list(words)[:NAMED])
            reasons[place] = "listed_words"
            evidence[place] = f"{len(words)} listed words, {share[place]:.1%} of the characters: {some}"
        occurrences = np.bincount(texts, minlength=len(batch)).astype(np.float32)
        return Verdict(reasons, evidence, {"listed_words": occurrences})


@lru_cache(maxsize=4)
def _compiled(settings: Words, models: Path) -> "tuple[PhraseSet, NDArray[np.bool_]]":
    """All phrases, once in a process, and which of them count."""
    from fromscratch.corpus.kernels.phrases import compile_phrases

    files = [LISTS / f"naughty_{language}.json" for language in settings.built_in]
    words = [word for file in files for word in json.loads(file.read_text(encoding="utf-8"))]
    if settings.lists:
        words += (models / MADE).read_text(encoding="utf-8").splitlines()
    phrases = list(dict.fromkeys([*settings.allowed, *words]))
    return compile_phrases(phrases), np.arange(len(phrases)) >= len(set(settings.allowed))
