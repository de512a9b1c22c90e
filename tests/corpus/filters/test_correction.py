"""Correction: boilerplate lines go, sentences about the same things stay, and nothing else is touched."""

import pytest

from fromscratch.corpus.filters.correction import Correction
from tests.conftest import Golden
from tests.corpus.filters.pages import batch_of, judged, judged_pages

FIRST, LAST = "The first sentence of a text.", "And here the text ends."


def corrected(text: str, kind: str = "text", correction: Correction | None = None) -> str:
    each, batch = correction or Correction(), batch_of([text], kinds=kind)
    judged(each, batch)
    texts = each.judge(batch).texts
    assert texts is not None
    result: str = texts[0].as_py()
    return result


@pytest.mark.parametrize(
    "line",
    [
        "Read more »",
        "Home | About | Contact",
        "  Share:  Facebook · Twitter · E-mail",
        "Page 3 of 10",
        "Copyright © 2009-2014 Example Ltd. All Rights Reserved.",
        "Please enable JavaScript to view this page.",
        "This site uses cookies. Learn more",
        "12 Comments",
        "上一篇：秋天的雨　　下一篇：冬天的雪",
        "首页 > 新闻 > 国内",
        "版权所有 © 某某公司 京ICP备１２３４５６号",
        "【责任编辑：张三】",
        "分享到： 新浪微博 微信 QQ空间",
        "第 3 页 / 共 10 页",
        "上一页 1 2 3 4 5 下一页",
        "登录 | 注册",
        "文章来源：某某网 作者：李四 责任编辑：王五",
    ],
)
def test_a_line_of_boilerplate_goes(line: str) -> None:
    assert corrected(f"{FIRST}\n{line}\n{LAST}") == f"{FIRST}\n{LAST}"


@pytest.mark.parametrize(
    "line",
    [
        "Contact the office before you read more of this.",
        "Browsers in which users have turned off what the page asks them for, enable JavaScript only on request.",
        "Home",
        "打印",
        "本网站不要求读者登录后才能评论！",
        "Search and print",
        "点击向上按钮滚动到上一页或上一个对象。",
        "仅返回目录名称。",
        "公司的版权所有者可以在条款中规定转载请注明出处。",
        "A licence that says all rights reserved gives the reader of its source no right to change it at all.",
        "login;",
        "-----",
        "1 2 3",
        "{% include 'login' %}",
    ],
)
def test_a_line_that_says_something_stays(line: str) -> None:
    assert corrected(f"{FIRST}\n{line}\n{LAST}") == f"{FIRST}\n{line}\n{LAST}"


def test_menu_words_go_when_they_come_in_a_row() -> None:
    assert corrected(f"{FIRST}\n\nHome\n• News\n\nContact\n\n{LAST}") == f"{FIRST}\n\n{LAST}"
    assert corrected(f"{FIRST}\nHome\nNews\n{LAST}\nContact") == f"{FIRST}\nHome\nNews\n{LAST}\nContact"


def test_repeated_separators_and_blank_lines_become_one() -> None:
    assert corrected("a\n-----\n\n----------\nb\n=====\n-----\nc") == "a\n-----\n\nb\n=====\n-----\nc"
    assert corrected("\n\na\n\n \n\t\u3000\n\nb\n") == "a\n\nb\n"


def test_zero_width_characters_go_and_joiners_stay() -> None:
    assert corrected("\ufeffsoft\u00adware 中\u200b文\u2060 क\u094d\u200dष") == "software 中文 क\u094d\u200dष"


def test_all_other_bytes_stay_as_they_are() -> None:
    text = "  Ｆｕｌｌ　width, tabs\t, e\u0301, 𨳒 \n\n   indented;  \n"
    assert corrected(text) == text


def test_code_is_left_alone() -> None:
    text = "# Read more\n\n\n\n// All rights reserved\n\ufeff"
    assert corrected(text, "code") == text


def test_a_long_line_is_never_cut_for_a_phrase() -> None:
    line = "All rights reserved. 版权所有 " * 10
    assert corrected(f"{FIRST}\n{line}") == f"{FIRST}\n{line}"
    assert corrected(f"{FIRST}\n{line}", correction=Correction(longest_line_bytes=400)) == FIRST


def test_a_document_of_boilerplate_alone_is_dropped() -> None:
    batch = batch_of(["免费注册 网站导航 联系我们", "Log in\nSign up", FIRST, ""])
    assert judged(Correction(), batch) == [
        ("boilerplate", "all of its 1 lines with words were cut"),
        ("boilerplate", "all of its 2 lines with words were cut"),
        (None, None),
        ("boilerplate", "all of its 0 lines with words were cut"),
    ]


def test_the_recipe_may_name_more_phrases() -> None:
    text = f"{FIRST}\nPermalink (17)\n{LAST}"
    assert corrected(text) == text
    assert corrected(text, correction=Correction(phrases=("Permalink (#)",))) == f"{FIRST}\n{LAST}"


def test_the_rules_of_c4_keep_sentences_alone() -> None:
    text = f"A heading\n{FIRST}\nToo short.\n今天天气好。\n没有句号的一行"
    assert corrected(text, correction=Correction(least_sentence_words=3)) == f"{FIRST}\n今天天气好。"


def test_cuts_on_real_pages_are_the_golden_ones(golden: Golden) -> None:
    golden.check("corpus/filters/correction.json", judged_pages(Correction()))
