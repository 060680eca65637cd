"""The sentence of the chain of thought: written, read back exactly, refused where it is another."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcslm.config.languages import read_languages
from mlcslm.text import reflection
from mlcslm.text.alignment import Edit, align
from mlcslm.text.protocols import normalise_reference
from mlcslm.text.reflection import Reflection, parse_reflection, units, write_reflection
from mlcslm.text.templates import parse_answer, plain_text, target_text

GROUPS = read_languages(Path(__file__).parents[2] / "config" / "languages.tsv")
FRAME = "The speech sounds like: {}, but it might have some {}, let me correct it."

# Words of every script of the corpus, and whatever the grammar itself is made of.
SCRIPTS = "yes l'été groß да нет không über これは です 見る 네 그래요 ครับ ไม่ ok 35 ﾊｲ 𠮷 dvdを2枚 e\u0301"
HOSTILE = (
    r", ; ;; \ \\ -> ... .... … \... a, b; c\ , but errors: none substitution: deletion: ( ) < > </think _ ' it. "
    r"->, ->; a-> :"
)
WORDS = st.sampled_from(SCRIPTS.split())
TEXTS = st.lists(WORDS | st.sampled_from(HOSTILE.split()), max_size=10).map(" ".join) | st.text(max_size=20)
FRAMES = st.sampled_from(
    [
        "but it might have some",
        ", but it might have some errors: none, let me correct it.",
        FRAME.format("a", "errors: none"),
        FRAME.format("", "deletion: a; insertion: b, ..."),
        ", let me correct it.",
    ]
)
UNITS = st.sampled_from(["word", "character"])


@pytest.mark.parametrize(
    ("unit", "reference", "hypothesis", "details"),
    [
        ("word", "Yes, I do.", "yes i do", "errors: none"),
        ("word", "i make you a tea", "i mate you tea um", "substitution: mate -> make; deletion: a; insertion: um"),
        ("word", "a b c", "", "deletion: a, b, c"),
        ("word", "", "a", "insertion: a"),
        ("word", "oui", "Oui,", r"substitution: Oui\, -> oui"),
        ("character", "はい、そうです", "はいそです", "deletion: う"),
        ("character", "네 KBS 뉴스", "네 kbs 뉴수", "substitution: 수 -> 스"),
        ("character", "ไม่", "ไม้", "substitution: ้ -> ่"),
    ],
)  # fmt: skip
def test_sentences_by_hand(unit: str, reference: str, hypothesis: str, details: str) -> None:
    assert write_reflection(hypothesis, reference, unit, longest=6) == FRAME.format(hypothesis, details)


def test_the_documentation_s_examples_and_grammar_are_true() -> None:
    document = (Path(__file__).parents[2] / "docs/reasoning.md").read_text(encoding="utf-8")
    grammar = [
        line for line in document.splitlines() if line.startswith(("REFLECTION =", "DETAILS    =", "SECTION    ="))
    ]
    assert len(grammar) == 3 and all(line in (reflection.__doc__ or "") for line in grammar)
    rows = re.findall(r"^\| (.+) \| (.+) \| `(.+?)`(.*) \|$", document.split("## The rewards")[0], re.MULTILINE)
    assert len(rows) == 4
    for reference, hypothesis, details, remark in rows:
        heard = hypothesis.replace("(nothing)", "")
        unit = "word" if heard.isascii() else "character"
        longest = 2 if remark.endswith("`reasoning.max_details` 2") else 6
        assert write_reflection(heard, reference, unit, longest=longest) == FRAME.format(heard, details)


def test_long_lists_are_cut_for_each_kind_and_say_so() -> None:
    heard, meant = "b c d x", "1 2 3 x k l m"
    written = write_reflection(heard, meant, "word", longest=2)
    assert written == FRAME.format("b c d x", "substitution: b -> 1, c -> 2, ...; deletion: k, l, ...")
    assert parse_reflection(written) == Reflection(
        "b c d x",
        (
            Edit("substitution", "b", "1"),
            Edit("substitution", "c", "2"),
            Edit("deletion", "", "k"),
            Edit("deletion", "", "l"),
        ),
        truncated=True,
    )
    with pytest.raises(ValueError, match="longest=0"):
        write_reflection("a", "b", "word", longest=0)


def test_a_unit_that_looks_like_the_cut_is_none() -> None:
    written = write_reflection("a ... b ...", "a b", "word", longest=6)
    assert written.endswith(r"insertion: \..., \..., let me correct it.")
    assert parse_reflection(written) == Reflection("a ... b ...", (Edit("insertion", "...", ""),) * 2)


@settings(max_examples=400)
@given(TEXTS | FRAMES, TEXTS, UNITS, st.integers(1, 4))
@pytest.mark.slow
def test_what_is_written_is_read_back(hypothesis: str, reference: str, unit: str, longest: int) -> None:
    hypothesis = plain_text(hypothesis)
    written = write_reflection(hypothesis, reference, unit, longest=longest)
    read = parse_reflection(written)
    assert read is not None and read.hypothesis == hypothesis
    edits = align(units(normalise_reference(reference), unit), units(hypothesis, unit))
    for kind in ("substitution", "deletion", "insertion"):
        true = [edit for edit in edits if edit.kind == kind]
        assert [edit for edit in read.edits if edit.kind == kind] == true[:longest]
    assert read.truncated == (len(read.edits) < len(edits))
    # At least one where there is one, and each kind that there is.
    assert read.kinds == {edit.kind for edit in edits}


@settings(max_examples=200)
@given(st.lists(WORDS, max_size=10).map(" ".join), st.lists(WORDS, max_size=10).map(" ".join), UNITS)
def test_it_survives_the_template(hypothesis: str, reference: str, unit: str) -> None:
    group = next(group for group in GROUPS.values() if group.unit == unit)
    think = write_reflection(hypothesis, reference, unit, longest=6)
    answer = parse_answer(target_text(group, "reasoning", normalise_reference(reference), think), "reasoning")
    assert answer.well_formed and answer.think == think
    assert answer.transcript == normalise_reference(reference)


def test_sentences_of_every_group_with_random_errors() -> None:
    """The prompts are the one text at hand in all 15 groups' own scripts."""
    draw = random.Random(3)
    for group in GROUPS.values():
        for _ in range(20):
            meant = units(normalise_reference(group.prompt), group.unit)
            heard = [draw.choice([unit, unit, unit[::-1], f"{unit} {unit}", ""]) for unit in meant]
            hypothesis = " ".join(" ".join(heard).split())
            read = parse_reflection(write_reflection(hypothesis, group.prompt, group.unit, longest=99))
            assert read is not None and not read.truncated and read.hypothesis == hypothesis
            assert sorted(map(str, read.edits)) == sorted(map(str, align(meant, units(hypothesis, group.unit))))


def test_a_raw_reference_is_as_good_as_a_normalised_one() -> None:
    raw = "Ça, c'est l'ÉTÉ !"
    written = write_reflection("ça est", raw, "word", longest=6)
    assert written == write_reflection("ça est", normalise_reference(raw), "word", longest=6)


def test_tags_in_a_hypothesis_are_left_out() -> None:
    assert write_reflection(" <think>oui </think>\n", "oui", "word", longest=1) == FRAME.format("oui", "errors: none")


def test_kinds_in_another_order_are_read() -> None:
    read = parse_reflection(FRAME.format("a b", "insertion: b; substitution: a -> c"))
    assert read == Reflection("a b", (Edit("insertion", "b", ""), Edit("substitution", "a", "c")))


@pytest.mark.parametrize(
    "details",
    [
        "",
        "errors",
        "errors: none; deletion: a",
        "errors: none, ...",
        "deletion: ",
        "deletion: a;",
        "deletion: a; ",
        "deletion: a, ",
        "deletion: a,",
        "deletion: a b",
        "deletion: a  -> b",
        "deletion: a -> b",
        "insertion: a, b -> c",
        "substitution: a",
        "substitution: a -> b, c",
        "substitution: a -> ",
        "substitution: a -> b -> c",
        "deletion: a; deletion: b",
        "deletions: a",
        "Deletion: a",
        "deletion: ...",
        "deletion: ..., a",
        "deletion: a, ..., ...",
        "substitution: ... -> a",
        "deletion: a, deletion: b",
        "deletion: a\\",
        "deletion: a\n",
    ],
)
def test_other_details_are_refused(details: str) -> None:
    assert parse_reflection(FRAME.format("a", details)) is None


@pytest.mark.parametrize(
    "think",
    [
        "",
        "a",
        FRAME,
        "The speech sounds like: a",
        "The speech sounds like: a, let me correct it.",
        "the speech sounds like: a, but it might have some errors: none, let me correct it.",
        "The speech sounds like: a, but it might have some errors: none, let me correct it",
        " The speech sounds like: a, but it might have some errors: none, let me correct it.",
        "The speech sounds like: , let me correct it.",
    ],
)
def test_other_sentences_are_refused(think: str) -> None:
    assert parse_reflection(think) is None


def test_endless_answers_are_refused_at_once() -> None:
    """A run-on must not make the parser search for ever."""
    for tail in (", a" * 20_000, ", a -> b" * 20_000, "\\" * 20_001, "a" * 20_000 + ", "):
        assert parse_reflection(FRAME.format("", f"substitution: a -> b{tail} ->")) is None
