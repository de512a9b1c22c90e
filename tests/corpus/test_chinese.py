"""Chinese through the whole default cascade: good texts stay, mojibake, menus, strings of key words and spam go.

`benchmarks/corpus_chinese.py` does the same with 500 documents of either kind.
"""

import numpy as np
import pytest

from fromscratch.corpus.cascade import Cascade
from fromscratch.corpus.sieve import sieve
from tests.corpus.filters.pages import PAGES, batch_of, fixture_pages

CHAPTERS = [each.read_text(encoding="utf-8") for each in sorted((PAGES / "text" / "zh").glob("*.txt"))]
PIECES = [chapter[at : at + 600] for chapter in CHAPTERS for at in range(0, len(chapter) - 600, 600)]
TITLES = [
    "首页", "新闻中心", "产品展示", "成功案例", "技术支持", "联系我们", "人才招聘", "在线留言", "下载中心", "会员登录",
    "免费注册", "网站地图", "友情链接", "设为首页", "加入收藏", "企业文化", "合作伙伴", "行业动态", "返回顶部",
]  # fmt: skip
PLACES = ["北京", "上海", "广州", "深圳", "天津", "重庆", "武汉", "成都", "南京", "杭州", "西安", "苏州"]
SPAM = [
    "厂家直销空压机，批发价格优惠，量大从优，欢迎来电咨询。联系电话：13912345678，全国包邮！",
    "【限时优惠】面膜原价199元，现在只要9.9元！加微信购买，前100名送茶叶一份，货到付款，假一赔十！",
    "诚招代理加盟，免费加盟，零风险创业，月入过万不是梦。加盟热线：400-1234567，点击咨询领取优惠券。",
    "扫描二维码关注公众号领取优惠，爆款秒杀，满减，买一送一，抢购从速，淘宝店旗舰店。",
    "在线赌场真人百家乐、时时彩、六合彩，信誉平台，注册送彩金，首存送88元。",
    "代开发票，办证刻章，毕业证办理，代写论文，枪手代考，信用卡套现，联系微信。",
]


def reasons(texts: list[str]) -> list[str | None]:
    batch = batch_of(texts, [""] * len(texts))
    batch.languages[:] = None
    sizes = np.array([len(text.encode()) for text in texts])
    found: list[str | None] = sieve(batch, np.full(len(texts), None, object), sizes, Cascade()).reason.tolist()
    return found


def test_chapters_of_a_novel_and_pages_of_documentation_stay() -> None:
    pages = fixture_pages("html/zh/**/*.html", "html/udhr/cmn*.html").texts.to_pylist()
    # The pages come with their menus here, which extraction takes away; only what is left of a text is asked for.
    prose = ["\n".join(line for line in page.split("\n") if "。" in line) for page in pages]
    good = [*CHAPTERS, *PIECES, *(page for page in prose if len(page) > 100)]
    found = reasons(good)
    assert len(good) > 70
    assert sum(reason is None for reason in found) >= 0.97 * len(good), found


@pytest.mark.parametrize(
    ("written", "read"), [("gbk", "latin-1"), ("utf-8", "latin-1"), ("utf-8", "gbk"), ("gbk", "utf-8")]
)
def test_texts_that_were_decoded_wrongly_go(written: str, read: str) -> None:
    found = reasons([piece.encode(written, "ignore").decode(read, "replace") for piece in PIECES[:40]])
    assert sum(reason is None for reason in found) <= 0.1 * len(found)


@pytest.mark.parametrize("separator", ["\n", " | ", "，", "、", " ", "_"])
def test_menus_and_strings_of_key_words_go(separator: str) -> None:
    menu = separator.join(TITLES)
    stuffed = separator.join(place + title for place in PLACES for title in TITLES[:3])
    phrases = [
        phrase for piece in PIECES[:3] for phrase in piece.replace("。", "，").split("，") if 2 < len(phrase) < 12
    ]
    found = reasons([separator.join(TITLES * 2), stuffed, separator.join(phrases[:80])])
    assert None not in found, found
    assert separator != "\n" or reasons([menu]) == ["menu"]


def test_offers_go_but_for_the_tenth_of_advertisement_that_is_kept() -> None:
    found = reasons([first + second for first in SPAM for second in SPAM if first != second])
    assert sum(reason is None for reason in found) <= 0.15 * len(found)
    assert {"downsampled_topic", "unsafe"} <= set(found)
