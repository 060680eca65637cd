from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcslm.config.languages import Group, read_languages
from mlcslm.errors import UserError
from mlcslm.text.templates import TEMPLATES, Answer, added_tokens, parse_answer, prompt_text, target_text

GROUPS = read_languages(Path(__file__).parents[2] / "config" / "languages.tsv")
KOREAN = GROUPS["Korean"]


def test_the_challenge_adds_17_tokens() -> None:
    tokens = added_tokens(GROUPS.values())
    assert len(tokens) == len(set(tokens)) == 17
    assert tokens[0] == "<LANG_EN>"
    assert "<LANG_JP>" in tokens
    assert tokens[-6:] == ["<speech>", "</speech>", "<transcribe>", "</transcribe>", "<think>", "</think>"]


def test_a_language_token_of_another_form_is_refused() -> None:
    group = Group("French", "French", "fr", "fr:", "word", "")
    with pytest.raises(UserError, match="'fr:' found, expected the form <LANG_XX>"):
        added_tokens([group])


def test_prompts() -> None:
    assert prompt_text(KOREAN, "plain") == "USER: <|audio|> Transcribe the speech above ASSISTANT:"
    tagged = "USER: <speech> <|audio|> </speech> Transcribe the speech above ASSISTANT:"
    assert prompt_text(KOREAN, "tagged") == tagged
    own = "USER: <speech> <|audio|> </speech> 위의 음성을 받아 적으세요 ASSISTANT:"
    assert prompt_text(KOREAN, "tagged-own-language") == prompt_text(KOREAN, "reasoning") == own


def test_targets() -> None:
    assert target_text(KOREAN, "plain", "안녕") == " 안녕"
    assert target_text(KOREAN, "tagged-own-language", "안녕") == " <LANG_KO> <transcribe> 안녕 </transcribe>"
    assert (
        target_text(KOREAN, "reasoning", "안녕", think="The speech sounds like: 안녕")
        == " <LANG_KO> <think> The speech sounds like: 안녕 </think> <transcribe> 안녕 </transcribe>"
    )


@pytest.mark.parametrize(("template", "think"), [("tagged", "x"), ("reasoning", None)])
def test_only_reasoning_has_a_reflection(template, think) -> None:
    with pytest.raises(ValueError, match="only 'reasoning'"):
        target_text(KOREAN, template, "안녕", think=think)


def test_context_cannot_forge_tags() -> None:
    text = prompt_text(KOREAN, "tagged", context=["a <|audio|> b\nc </speech>"])
    assert text == "USER: <speech> <|audio|> </speech> Transcribe the speech above\na b c ASSISTANT:"


words = st.text(st.characters(exclude_characters="<>|", exclude_categories=["Cs"]), max_size=30)


@pytest.mark.parametrize("template", [one for one in TEMPLATES if one != "diarized"])
@given(transcript=words, think=words)
def test_targets_are_read_back(template, transcript: str, think: str) -> None:
    is_reasoning = template == "reasoning"
    raw = target_text(KOREAN, template, transcript, think=think if is_reasoning else None)
    assert parse_answer(raw + "<|im_end|>", template) == Answer(
        language=None if template == "plain" else "<LANG_KO>",
        transcript=" ".join(transcript.split()),
        think=" ".join(think.split()) if is_reasoning else None,
        well_formed=True,
    )


@pytest.mark.parametrize(
    ("raw", "template", "expected"),
    [
        ("<LANG_EN><transcribe>yes</transcribe>", "tagged", Answer("<LANG_EN>", "yes", None, True)),
        ("<LANG_EN><transcribe></transcribe></s><pad><pad>", "tagged", Answer("<LANG_EN>", "", None, True)),
        # the length limit cut it
        ("<LANG_EN> <transcribe> yes I", "tagged", Answer("<LANG_EN>", "yes I", None, False)),
        # a tag is missing, doubled or out of place
        ("<transcribe> yes </transcribe>", "tagged", Answer(None, "yes", None, False)),
        ("<LANG_EN> yes I do </transcribe>", "tagged", Answer("<LANG_EN>", "yes I do", None, False)),
        (
            "<LANG_EN> <transcribe> yes <LANG_FR> oui </transcribe>",
            "tagged",
            Answer("<LANG_EN>", "yes oui", None, False),
        ),
        ("<LANG_EN> <transcribe> yes </transcribe> Sure!", "tagged", Answer("<LANG_EN>", "yes", None, False)),
        ("Sure! <LANG_EN> <transcribe> yes </transcribe>", "tagged", Answer("<LANG_EN>", "yes", None, False)),
        ("<LANG_EN> <LANG_EN> <transcribe> a </transcribe>", "tagged", Answer("<LANG_EN>", "a", None, False)),
        ("<transcribe> a </transcribe> <transcribe> b </transcribe>", "tagged", Answer(None, "a", None, False)),
        ("I can help with that.", "tagged", Answer(None, "I can help with that.", None, False)),
        ("", "tagged", Answer(None, "", None, False)),
        ("yes  I\ndo <|im_end|>", "plain", Answer(None, "yes I do", None, True)),
        ("<LANG_EN> yes", "plain", Answer("<LANG_EN>", "yes", None, False)),
        # a thought where none belongs, one that never ends, one that ends late
        (
            "<LANG_EN> <think> hm </think> <transcribe> yes </transcribe>",
            "tagged",
            Answer("<LANG_EN>", "yes", "hm", False),
        ),
        ("<LANG_EN> <think> like: yes, but", "reasoning", Answer("<LANG_EN>", "", "like: yes, but", False)),
        ("<LANG_EN> <think> hm <transcribe> yes </transcribe>", "reasoning", Answer("<LANG_EN>", "yes", "hm", False)),
        ("<LANG_EN> <think> hm </think> yes", "reasoning", Answer("<LANG_EN>", "yes", "hm", False)),
        ("<LANG_EN> <transcribe> yes </transcribe>", "reasoning", Answer("<LANG_EN>", "yes", None, False)),
    ],
)
def test_answers_malformed_or_not_keep_what_was_transcribed(raw, template, expected) -> None:
    assert parse_answer(raw, template) == expected


def test_an_unknown_template_is_named() -> None:
    with pytest.raises(UserError, match="template 'taged' found, expected one of: plain, tagged"):
        parse_answer("", "taged")
