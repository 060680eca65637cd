"""The answers that the demo's language model is pretrained on: drafts, their errors, and what is learnt."""

from __future__ import annotations

import numpy as np
import pytest

from mlcslm.config.languages import Group
from mlcslm.pretraining.answers import Marks, marked_answer, misheard, plain_answer
from mlcslm.pretraining.language_model import LanguageModelRecipe, Writer, train_tokenizer
from mlcslm.pretraining.noisy_text import Phase
from mlcslm.text.reflection import parse_reflection

FRENCH = Group("French", "French", "fr", "<LANG_FR>", "word", "Transcrivez")
THAI = Group("Thai", "Thai", "th", "<LANG_TH>", "character", "ถอดความ")
MARKS = Marks((1, 2), (3, 4), {"fr": 5, "th": 6})
END = 7


def ids_of(text: str) -> list[int]:
    """A token for each character."""
    return [ord(character) + 100 for character in text]


def text_of(ids: list[int]) -> str:
    return "".join(chr(i - 100) if i >= 100 else f"[{i}]" for i in ids)


def test_a_plain_answer_is_learnt_whole() -> None:
    answer = plain_answer("ça va", ids_of, END)
    assert text_of(answer.ids) == " ça va[7]"
    assert all(answer.learnt)


def test_markup_without_a_draft() -> None:
    answer = marked_answer("ça va", None, FRENCH, MARKS, ids_of, END)
    assert text_of(answer.ids) == "[5][1] ça va[2][7]"
    assert all(answer.learnt)


@pytest.mark.parametrize("draft", ["ça va", "sa va", "va va"])
def test_a_wrong_draft_is_read_but_not_learnt(draft: str) -> None:
    answer = marked_answer("ça va", draft, FRENCH, MARKS, ids_of, END)
    details = {"ça va": "errors: none", "sa va": "substitution: sa -> ça", "va va": "substitution: va -> ça"}[draft]
    expected = f"The speech sounds like: {draft}, but it might have some {details}, let me correct it."
    assert text_of(answer.ids) == f"[5][3] {expected}[4][1] ça va[2][7]"
    left_out = text_of([i for i, learnt in zip(answer.ids, answer.learnt, strict=True) if not learnt])
    assert left_out == ("" if draft == "ça va" else f" {draft}")


@pytest.mark.parametrize(("group", "text"), [(FRENCH, "je voudrais aller à lyon"), (THAI, "ฉันกินขนมปัง")])
def test_mishearings_are_near_and_reproducible(group: Group, text: str) -> None:
    drafts = [misheard(text, group, np.random.default_rng(seed)) for seed in range(200)]
    assert drafts == [misheard(text, group, np.random.default_rng(seed)) for seed in range(200)]
    assert sum(draft != text for draft in drafts) > 100
    assert set("".join(drafts)) <= set(text)
    assert all(len(draft) <= 3 * len(text) and draft == " ".join(draft.split()) for draft in drafts)


def test_drafts_of_the_writer_are_reflections(groups) -> None:
    recipe = LanguageModelRecipe(vocabulary=420)
    tokenizer = train_tokenizer(groups, recipe)
    writer = Writer(tokenizer, groups, recipe)
    writer.phase = Phase(1, 1.0, spelled_share=0.5, loudest=1.0, markup_share=1.0, draft_share=1.0)
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(60):
        example = writer.example(rng)
        answer = example.ids[example.answer :]
        first, last = (answer.index(mark) for mark in writer._marks.draft)
        reflection = parse_reflection(tokenizer.decode(answer[first + 1 : last]).removeprefix(" "))
        assert reflection is not None
        wrong += bool(reflection.edits)
        final = tokenizer.decode(answer[last + 2 : -2]).removeprefix(" ")
        assert bool(reflection.edits) == (reflection.hypothesis != final) == (not all(example.learnt))
    assert 15 < wrong < 55
