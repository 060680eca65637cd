"""Target answers of the demo's language model: the text, marked up, at times after a draft and its errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlcslm.config.languages import Group
from mlcslm.text.reflection import BEGINNING, write_reflection


@dataclass(frozen=True)
class Marks:
    """Tokens used as markup: a pair around an answer, a pair around a draft, and a tag per language."""

    answer: tuple[int, int]
    draft: tuple[int, int]
    tags: dict[str, int]


@dataclass(frozen=True)
class Answer:
    """ids: the answer's tokens; learnt: which of them count in the loss, namely all but those of a wrong draft."""

    ids: list[int]
    learnt: list[bool]


def plain_answer(text: str, ids_of: Callable[[str], list[int]], end: int) -> Answer:
    """The text and the end token."""
    ids = [*ids_of(f" {text}"), end]
    return Answer(ids, [True] * len(ids))


def marked_answer(
    text: str, draft: str | None, group: Group, marks: Marks, ids_of: Callable[[str], list[int]], end: int
) -> Answer:
    """Language tag, the reflection on `draft` if given, and the text, the latter two between their marks."""
    ids, learnt = [marks.tags[group.language]], [True]
    if draft is not None:
        written = f" {write_reflection(draft, text, group.unit, longest=3)}"
        beginning, heard = ids_of(f" {BEGINNING.rstrip()}"), ids_of(f" {draft}")
        rest = ids_of(written[len(f" {BEGINNING}{draft}") :])
        ids += [marks.draft[0], *beginning, *heard, *rest, marks.draft[1]]
        learnt += [True] * (1 + len(beginning)) + [draft == text] * len(heard) + [True] * (len(rest) + 1)
    answer = [marks.answer[0], *ids_of(f" {text}"), marks.answer[1], end]
    return Answer(ids + answer, learnt + [True] * len(answer))


def misheard(text: str, group: Group, rng: np.random.Generator) -> str:
    """`text` with random mistakes: letters replaced, dropped or doubled, and occasionally whole words."""
    words = text.split() if group.unit == "word" else list(text)
    letters = [letter for letter in text if not letter.isspace()]
    share = rng.uniform(0.05, 0.4)
    heard: list[str] = []
    for word in words:
        if word.isspace() or rng.random() >= share:
            heard.append(word)
        elif group.unit == "word" and rng.random() < 0.75:
            heard += _misspelt(word, letters, rng).split()
        else:
            other = (
                letters[rng.integers(len(letters))] if group.unit == "character" else words[rng.integers(len(words))]
            )
            heard += ([], [other], [word, other])[rng.integers(3)]
    separator = " " if group.unit == "word" else ""
    return " ".join(separator.join(heard).split())


def _misspelt(word: str, letters: list[str], rng: np.random.Generator) -> str:
    at = int(rng.integers(len(word)))
    other = letters[rng.integers(len(letters))]
    middle = ("", other, word[at] + other)[rng.integers(3)]
    return word[:at] + middle + word[at + 1 :]
