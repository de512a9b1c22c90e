"""Privacy: what is personal is masked by its kind, and what only looks like it stays."""

import pytest

from fromscratch.corpus.filters.privacy import TOKENS, Privacy
from tests.conftest import Golden
from tests.corpus.filters.pages import batch_of, judged, judged_pages


def masked(text: str, language: str = "en", privacy: Privacy | None = None) -> str:
    each, batch = privacy or Privacy(), batch_of([text], language)
    judged(each, batch)
    texts = each.judge(batch).texts
    return text if texts is None else str(texts[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to jane.doe+news@mail.acme.co.uk, please.", "Write to <EMAIL>, please."),
        ("邮箱：zhangsan@163.com。", "邮箱：<EMAIL>。"),
        ("邮箱ｚｓ１２３＠ｑｑ．ｃｏｍ", "邮箱<EMAIL>"),
        ("13800138000@139.com", "<EMAIL>"),
        ("手机13912345678，谢谢", "手机<PHONE>，谢谢"),
        ("手机：１３９１２３４５６７８", "手机：<PHONE>"),
        ("请拨打 139-1234-5678 或 139 1234 5679。", "请拨打 <PHONE> 或 <PHONE>。"),
        ("13912345678/13912345679", "<PHONE>/<PHONE>"),
        ("座机 010-62345678，(0571)87654321 转 3", "座机 <PHONE>，<PHONE> 转 3"),
        ("传真0755-86013388-8001", "传真<PHONE>"),
        ("联系电话：8765 4321", "联系电话：<PHONE>"),
        ("Call +44 20 7946 0958 or +8613912345678.", "Call <PHONE> or <PHONE>."),
        ("(212) 736-5000, 212-736-5000", "<PHONE>, <PHONE>"),
        ("Tel: 736 5000 12", "Tel: <PHONE> 12"),
        ("身份证11010519491231002X。", "身份证<ID_NUMBER>。"),
        ("身份证号：440308199901101512", "身份证号：<ID_NUMBER>"),
        ("SSN 536-90-4399", "SSN <ID_NUMBER>"),
        ("from 93.184.216.34 and http://151.101.1.69/a", "from <IP_ADDRESS> and http://<IP_ADDRESS>/a"),
        ("at 2606:2800:220:1:248:1893:25c8:1946, 2607:f8b0:4004::200e.", "at <IP_ADDRESS>, <IP_ADDRESS>."),
        ("card 4539 1488 0343 6467 or 6221 2345 6789 0123 450", "card <BANK_CARD> or <BANK_CARD>"),
        ("卡号6222021234567890128", "卡号<BANK_CARD>"),
        ("加QQ：123456789 或微信号：zhang_san88", "加QQ：<ACCOUNT> 或微信号：<ACCOUNT>"),
        ("ＱＱ群１２３４５６７８", "ＱＱ群<ACCOUNT>"),
        ("key AKIAQWERTYUIOPASDF12", "key <KEY>"),
    ],
)
def test_personal_data_is_masked_by_its_kind(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com, a@b.test, me@localhost, git@github.com:org/repo.git",
        "icon@2x.png, sprites@2x.json, lodash@4.17.21, @decorator.name, a @ b.com",
        "Version 1.2.3.4, v10.0.19041.110, Chrome/91.0.4472.124, Agent/12.0.0.110, 1.3.6.1.4.1.311",
        "127.0.0.1, 10.1.2.200, 192.168.1.1, 172.16.254.1, 192.0.2.146, 198.51.100.7, 203.0.113.9, 255.255.255.0",
        "2001:db8::ff00:42:8329, 12:30:45, ::1, fe80::1, 2024:01:02, std::vector<2000::x>",
        "ISBN 978-7-111-07575-2, 978-0-306-40615-7, ISSN 0378-5955, 10.1000/182",
        "2023-11-20 12:30:45, 20231120123045, 1700481045, 1700481045123, 3.14159265358979",
        "4539 1488 0343 6466, 1234567890123456, 4111 1111 1111 1111, 4242424242424242, 0000-0000-0000-0000",
        "110105194912310021, 123-45-6789, 000-12-3456, 987-65-4321, 666-12-3456",
        "+12065550100, +1-555-010-0000, 555-867-5309, (555) 123-4567, 212-555-0199, 123-456-7890",
        "$13912345678, #13912345678, 0.13912345678, a13912345678, 13912345678px, 139123456780",
        "https://site.cn/13912345678.html, 13912345678.jpg, id_13912345678",
        "QQ空间、微信支付2020年、QQ 2013 版",
        "AKIAIOSFODNN7EXAMPLE",
        "人口1370536875人，总投资15000000000元",
        "phone 2007 2008 2009, mobile 1920x1080",
        "f(13900000000)",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert masked(text) == text


def test_in_code_only_addresses_and_keys_are_masked() -> None:
    text = 'ADMIN = "root@corp.cn"; HOST = "93.184.216.34"; ID = 13912345678  # QQ: 123456789'
    expected = 'ADMIN = "<EMAIL>"; HOST = "<IP_ADDRESS>"; ID = 13912345678  # QQ: 123456789'
    assert masked(text, "code") == expected
    assert masked(text, "code", Privacy(code="keep")) == text


@pytest.mark.parametrize("kind", TOKENS)
def test_each_kind_can_be_kept(kind: str) -> None:
    text = "a@b.cn 13912345678 440308199901101512 93.184.216.34 4539148803436467 QQ123456789 AKIAQWERTYUIOPASDF12"
    every = " ".join(TOKENS.values()).replace("<ACCOUNT>", "QQ<ACCOUNT>")
    assert masked(text) == every
    privacy = Privacy.model_validate({kind: "keep"})
    words = dict(zip(TOKENS, zip(every.split(), text.split(), strict=True), strict=True))
    assert masked(text, privacy=privacy) == every.replace(*words[kind])


def test_lists_of_contacts_go() -> None:
    row = "Li Lei, 13912345678, lilei@corp.cn\n"
    prose = "A long sentence that has nothing to do with any of these people. " * 20
    batch = batch_of([row * 5, row * 4, row * 5 + prose])
    assert judged(Privacy(), batch) == [
        ("contact_list", "10 matches, 57.1 for each thousand characters"),
        *[(None, None)] * 2,
    ]
    assert Privacy().judge(batch).columns["masked"].tolist() == [10, 8, 10]


def test_masking_real_pages_gives_the_golden_texts(golden: Golden) -> None:
    golden.check("corpus/filters/privacy.json", judged_pages(Privacy()))
