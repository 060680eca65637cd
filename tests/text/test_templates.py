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


def test_a_choice_is_one_word_or_followed_by_a_tagged_answer() -> None:
    prompt = "USER: <speech> <|audio|> </speech> 위의 음성을 받아 적으세요"
    heard = "\n<transcribe> 안영 </transcribe>\n<transcribe> 안 <b> </transcribe> ASSISTANT:"
    assert prompt_text(KOREAN, "choose", first_passes=["안영", "안 <think> <b>"]) == prompt + heard
    targets = [target_text(KOREAN, "choose", "안녕", choice=choice) for choice in ("keep", "other", "rewrite")]
    assert targets == [" keep", " other", " rewrite" + target_text(KOREAN, "tagged", "안녕")]


@pytest.mark.parametrize(("template", "choice"), [("tagged", "keep"), ("choose", None)])
def test_only_choose_has_a_choice(template, choice) -> None:
    with pytest.raises(ValueError, match="only 'choose'"):
        target_text(KOREAN, template, "안녕", choice=choice)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (" keep<|im_end|>", Answer(None, "first one", None, True)),
        ("other", Answer(None, "second", None, True)),
        (" rewrite<LANG_EN><transcribe> third </transcribe></s>", Answer("<LANG_EN>", "third", None, True)),
        ("rewrite <LANG_EN> <transcribe> </transcribe>", Answer("<LANG_EN>", "", None, True)),
        # malformed in any way: the first is kept
        ("", Answer(None, "first one", None, False)),
        ("keep other", Answer(None, "first one", None, False)),
        ("others", Answer(None, "first one", None, False)),
        (" other <LANG_EN> <transcribe> third </transcribe>", Answer(None, "first one", None, False)),
        ("rewrite", Answer(None, "first one", None, False)),
        ("rewrite third", Answer(None, "first one", None, False)),
        ("rewrite <LANG_EN> <transcribe> third", Answer(None, "first one", None, False)),
        ("rewrite <transcribe> third </transcribe>", Answer(None, "first one", None, False)),
        ("<LANG_EN> <transcribe> third </transcribe>", Answer(None, "first one", None, False)),
    ],
)
def test_answers_that_choose(raw: str, expected: Answer) -> None:
    assert parse_answer(raw, "choose", first_passes=["first  one", "second"]) == expected


@given(
    raw=st.lists(st.sampled_from([" keep", " other", " rewrite", "<LANG_EN>", "<transcribe>", "x", "</transcribe>"]))
)
def test_whatever_is_answered_a_choice_is_one_of_three(raw: list[str]) -> None:
    found = parse_answer("".join(raw), "choose", first_passes=["first", "second"])
    rewritten = raw[:1] == [" rewrite"] and parse_answer("".join(raw[1:]), "tagged").well_formed
    expected = {(" keep",): "first", (" other",): "second"}.get(tuple(raw))
    assert found.well_formed == (rewritten or expected is not None)
    if not rewritten:
        assert found.transcript == (expected or "first") and found.language is None


def test_a_choice_needs_two_first_passes() -> None:
    with pytest.raises(ValueError, match="with 1 first passes, needs two"):
        parse_answer("keep", "choose", first_passes=["one"])


@pytest.mark.parametrize(("template", "think"), [("tagged", "x"), ("reasoning", None)])
def test_only_reasoning_has_a_reflection(template, think) -> None:
    with pytest.raises(ValueError, match="only 'reasoning'"):
        target_text(KOREAN, template, "안녕", think=think)


def test_context_cannot_forge_tags() -> None:
    text = prompt_text(KOREAN, "tagged", context=["a <|audio|> b\nc </speech>"])
    assert text == "USER: <speech> <|audio|> </speech> Transcribe the speech above\na b c ASSISTANT:"


words = st.text(st.characters(exclude_characters="<>|", exclude_categories=["Cs"]), max_size=30)


@pytest.mark.parametrize("template", [one for one in TEMPLATES if one not in ("diarized", "choose")])
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
