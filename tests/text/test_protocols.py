from __future__ import annotations

import pickle
import string
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcslm.config.languages import Group, read_languages
from mlcslm.errors import UserError
from mlcslm.text.normalisation_whisper import normalise_whisper, read_spellings
from mlcslm.text.protocols import get_protocol, normalise_reference, split_tokens

GROUPS = read_languages(Path(__file__).parents[2] / "config" / "languages.tsv")
ENGLISH, FRENCH, JAPANESE = GROUPS["English-British"], GROUPS["French"], GROUPS["Japanese"]
KOREAN, THAI = GROUPS["Korean"], GROUPS["Thai"]
MLCSLM = get_protocol("mlcslm-2025")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Hello,\tWorld!\u00a0 ", "hello world"),
        ("a . b - c", "a b - c"),
        ("rock'n'roll’s 3.5% (sic)", "rock'n'roll’s 35 sic"),
        ("¿Qué? ¡Ay!", "qué ay"),
        ("。、？！・，", ""),
        ("… « » 「」 （ ） ： ； 〜 ° – —", "… « » 「」 （ ） ： ； 〜 ° – —"),
        ("ÉCOLE E\u0301cole", "école e\u0301cole"),
        ("ＡＢＣ　ｄｅｆ", "ａｂｃ ｄｅｆ"),
        ("", ""),
    ],
)
def test_references_lose_case_and_the_challenge_s_punctuation_only(text: str, expected: str):
    assert normalise_reference(text) == expected


def test_ascii_punctuation_goes_but_for_apostrophe_and_hyphen():
    kept = "".join(character for character in string.punctuation if normalise_reference(character))
    assert kept == "'-"


@pytest.mark.parametrize(
    ("group", "text", "expected"),
    [
        (JAPANESE, "iPhone15を買った。", ["iphone15", "を", "買", "っ", "た"]),
        (JAPANESE, "はい「そう」　ですね", ["は", "い", "「", "そ", "う", "」", "で", "す", "ね"]),
        (JAPANESE, "ｶﾞ２𠮷a", ["ｶ", "ﾞ", "２", "𠮷", "a"]),
        (KOREAN, "네, KBS 뉴스", ["네", "kbs", "뉴", "스"]),
        (KOREAN, unicodedata.normalize("NFD", "한"), ["ᄒ", "ᅡ", "ᆫ"]),
        (THAI, "ไม่ OK", ["ไ", "ม", "่", "ok"]),
        (FRENCH, "Aujourd’hui, ไม่ 日本", ["aujourd’hui", "ไม่", "日本"]),
    ],
)
def test_reference_tokens_are_words_or_characters_with_latin_runs_whole(group: Group, text: str, expected: list[str]):
    assert MLCSLM.reference_tokens(text, group) == expected


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (0x1100, 0x11FF),
        (0x2E80, 0xA4CF),
        (0xA840, 0xD7AF),
        (0xF900, 0xFAFF),
        (0xFE30, 0xFE4F),
        (0xFF65, 0xFFDC),
        (0xFF01, 0xFF60),
        (0x0E00, 0x0E7F),
        (0x20000, 0x2FFFF),
    ],
)
def test_ranges_end_where_the_protocol_says(first: int, last: int):
    for inside in (first, last):
        assert split_tokens(f"a{chr(inside)}b", THAI) == ["a", chr(inside), "b"]


@pytest.mark.parametrize("outside", [0x10FF, 0x1200, 0x2E7F, 0xA4D0, 0xA83F, 0xD7B0, 0xFE2F, 0xFE50, 0xFF64, 0xFFDD])
def test_characters_next_to_the_ranges_do_not_split(outside: int):
    assert split_tokens(f"a{chr(outside)}b", KOREAN) == [f"a{chr(outside)}b"]


def test_hypotheses_are_left_as_they_are_but_for_characters():
    assert MLCSLM.hypothesis_tokens("Well, YES.", ENGLISH) == ["Well,", "YES."]
    assert MLCSLM.hypothesis_tokens("はい。", JAPANESE) == ["は", "い", "。"]
    assert (MLCSLM.name, MLCSLM.normalise_hypothesis) == ("mlcslm-2025", False)


def test_normalised_hypotheses_are_named_in_the_protocol():
    protocol = get_protocol("mlcslm-2025", normalise_hypothesis=True)
    assert protocol.name == "mlcslm-2025+normalised-hypothesis"
    assert protocol.hypothesis_tokens("Well, YES.", ENGLISH) == ["well", "yes"]


def test_unknown_protocol_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"mlcslm-2024.*expected one of: mlcslm-2025, whisper-norm.*mean mlcslm-2025"):
        get_protocol("mlcslm-2024")


@given(st.text())
@pytest.mark.slow
def test_normalising_twice_changes_nothing(text: str):
    once = normalise_reference(text)
    assert normalise_reference(once) == once


@given(st.text(), st.sampled_from([ENGLISH, KOREAN]))
def test_tokens_lose_white_space_only(text: str, group: Group):
    assert "".join(split_tokens(text, group)) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Expectations of openai/whisper's own tests, and of the rules in its paper's appendix C.
        ("two point two five dollars", "$2.25"),
        ("Mr. Park visited Assoc. Prof. Kim Jr.", "mister park visited associate professor kim junior"),
        ("he's like, I'll mobilise", "he is like i will mobilize"),
        ("um, the colour [laughs] won't do", "the color will not do"),
    ],
)
def test_whisper_s_english_rules(text: str, expected: str):
    assert normalise_whisper(text, "en") == expected


def test_whisper_norm_applies_to_both_sides_and_counts_characters():
    protocol = get_protocol("whisper-norm")
    assert protocol.name == get_protocol("whisper-norm", normalise_hypothesis=True).name == "whisper-norm"
    for tokens in (protocol.reference_tokens, protocol.hypothesis_tokens):
        assert tokens("The Colour — isn't.", ENGLISH) == ["the", "color", "is", "not"]
        assert tokens("L’école, (rires) E\u0301TÉ!", FRENCH) == ["l", "école", "été"]
        assert tokens("ＤＶＤを買った。", JAPANESE) == ["dvd", "を", "買", "っ", "た"]
        assert tokens("ไม่", THAI) == ["ไ", "ม"]


def test_spellings_are_whisper_s():
    spellings = read_spellings()
    assert len(spellings) == 1739
    assert all(isinstance(word, str) for pair in spellings.items() for word in pair)
    assert (spellings["colour"], spellings["yoghurts"], spellings["archaeology"]) == ("color", "yogurts", "archeology")


def test_protocols_can_be_sent_to_other_processes():
    protocol = pickle.loads(pickle.dumps(get_protocol("mlcslm-2025", True)))
    assert protocol.hypothesis_tokens("A.", ENGLISH) == ["a"]
