"""Files of dialogues give conversations, and damage is named without losing the rest."""

import json

from fromscratch.chat.conversation import Damage, Turns
from fromscratch.chat.readers import chatterbot_conversations, json_line_conversations


def said(found: Turns | Damage) -> list[tuple[str, str]]:
    assert not isinstance(found, Damage), found
    return [(message["role"], message["content"]) for message in found]


YAML = b"""
categories:
- trivia
conversations:
- - Are you a robot?
  - No
  - Really?
  - Yes
- In a game of bingo - '22'
- - When was that?
  - 1963
- []
"""


def test_yaml_speakers_take_turns_and_plain_words_stay_words() -> None:
    first, broken, second, empty = chatterbot_conversations(YAML, alternatives=False)
    assert said(first) == [
        ("user", "Are you a robot?"),
        ("assistant", "No"),
        ("user", "Really?"),
        ("assistant", "Yes"),
    ]
    assert broken == Damage("conversation 2: no list of texts")
    assert said(second) == [("user", "When was that?"), ("assistant", "1963")]
    assert said(empty) == []


def test_a_yaml_list_of_alternatives_is_one_question_with_several_answers() -> None:
    found = list(chatterbot_conversations(b"conversations:\n- [Sad?, No., Not now., ]\n- []\n", alternatives=True))
    assert [said(each)[1][1] for each in found] == ["No.", "Not now."]
    assert {said(each)[0] for each in found} == {("user", "Sad?")}


def test_yaml_that_is_none_or_something_else_is_damage() -> None:
    for raw in (
        b"conversations: [",
        b"\xff\xfe\xff",
        b"[1, 2]",
        b"conversations: no",
        b"!!python/object:os.system x",
        b"",
    ):
        (found,) = chatterbot_conversations(raw, alternatives=False)
        assert isinstance(found, Damage), raw


def test_json_lines_are_read_in_both_forms() -> None:
    lines = [
        {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]},
        {"conversations": [{"from": "human", "value": "你好"}, {"from": "gpt", "value": "您好"}], "id": "x"},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "two "}, {"type": "text", "text": "parts"}]}
            ]
        },
    ]
    raw = "\n\n".join(json.dumps(each, ensure_ascii=False) for each in lines).encode()
    assert [said(each) for each in json_line_conversations(raw)] == [
        [("system", "Be kind."), ("user", "Hi")],
        [("user", "你好"), ("assistant", "您好")],
        [("user", "two parts")],
    ]


def test_each_broken_json_line_is_named_and_the_others_are_kept() -> None:
    good = b'{"messages": [{"role": "user", "content": "Hi"}]}'
    lines = [
        b"{",
        good,
        b"[]",
        b'{"messages": [{"role": "tool", "content": "x"}]}',
        b'{"messages": ["x"]}',
        b'{"messages": [{"role": "user", "content": null}]}',
        b"\xff",
        good,
    ]
    found = list(json_line_conversations(b"\n".join(lines)))
    assert [isinstance(each, Damage) for each in found] == [True, False, True, True, True, True, True, False]
    wrong_role = found[3]
    assert isinstance(wrong_role, Damage) and wrong_role.what.startswith('line 4: a `role` that is "tool"')
