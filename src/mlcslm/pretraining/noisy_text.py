"""Training data of the demo's language model: sentences as they might be heard, in the prompt's format."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from mlcslm.config.languages import Group, group_shares
from mlcslm.corpus.demo.grammar import load_grammar, split_of
from mlcslm.errors import UserError
from mlcslm.pretraining.answers import Answer, Marks, marked_answer, misheard, plain_answer
from mlcslm.text.characters import characters
from mlcslm.text.protocols import normalise_reference
from mlcslm.text.templates import ENGLISH_PROMPT

END, PAD, START = "<|im_end|>", "<|endoftext|>", "<|im_start|>"
# Byte-level BPE has a row for each of the 256 bytes; these occur in no text: control characters, and bytes that are
# invalid in UTF-8. They serve as markup: a pair around an answer, a pair around a draft, and a tag per language.
_UNUSED_BYTES = bytes([0xC0, 0xC1, 0x01, 0x02, *range(0xF5, 0x100)])
_BYTE_LETTERS = bytes_to_unicode()


@dataclass(frozen=True)
class Phase:
    """A phase of pretraining.

    spelled_share: share of noisy copies that are characters spread over time (the others are word pieces); loudest: the
    largest norm of the noisy copy's embeddings, as a multiple of the table's; markup_share: share of examples with
    unknown tokens around the noisy copy, whose answers are marked up too, with a language tag, an opening and a closing
    one; draft_share: share of marked-up examples whose answers start with a draft and its errors.
    """

    steps: int
    learning_rate: float
    spelled_share: float
    loudest: float
    markup_share: float = 0.0
    draft_share: float = 0.0


@dataclass(frozen=True)
class LanguageModelRecipe:
    """Size of the language model and how it is trained."""

    vocabulary: int = 1024
    width: int = 192
    layers: int = 4
    heads: int = 6
    key_value_heads: int = 2
    feed_forward: int = 512
    phases: tuple[Phase, ...] = (
        Phase(steps=2000, learning_rate=2e-3, spelled_share=0.0, loudest=1.0),
        Phase(steps=1300, learning_rate=1.5e-3, spelled_share=0.8, loudest=1.0),
        Phase(steps=700, learning_rate=1e-3, spelled_share=0.8, loudest=20.0),
        Phase(steps=1400, learning_rate=1.2e-3, spelled_share=0.8, loudest=20.0, markup_share=0.6),
        Phase(steps=800, learning_rate=1.2e-3, spelled_share=0.8, loudest=20.0, markup_share=0.75, draft_share=0.6),
        Phase(steps=1200, learning_rate=1e-3, spelled_share=0.8, loudest=20.0, markup_share=0.75, draft_share=0.6),
    )
    batch: int = 32
    warmup_steps: int = 200
    context_share: float = 0.3
    seed: int = 17


@dataclass(frozen=True)
class Example:
    """A training example. The noisy copy is fed as embeddings, which replace those of `ids` at the `noisy` positions.

    ids: the whole text; noisy: start and end position of the noisy copy; learnt: which of the last positions, those of
    the answer, count in the loss; mixture: (position within the noisy copy, token, weight) of every summand of the
    noisy copy's embeddings.
    """

    ids: list[int]
    noisy: tuple[int, int]
    learnt: list[bool]
    mixture: list[tuple[int, int, float]]

    @property
    def answer(self) -> int:
        """Position at which the answer starts."""
        return len(self.ids) - len(self.learnt)


class Writer:
    """Draws training examples: a noisy copy, the prompt, at times context, and the answer."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, groups: dict[str, Group], recipe: LanguageModelRecipe
    ) -> None:
        self.recipe = recipe
        self.groups = list(groups.values())
        self._shares = list(group_shares(groups).values())
        self.tokenizer = tokenizer
        model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
        self._byte_pieces: dict[str, int] = model["vocab"]
        self._halves = {
            model["vocab"][left + right]: (model["vocab"][left], model["vocab"][right])
            for left, right in model["merges"]
        }
        self._pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._blank = self._ids("\n")[0]
        self.reserved = [model["vocab"][_BYTE_LETTERS[byte]] for byte in _UNUSED_BYTES]
        languages = dict.fromkeys(group.language for group in self.groups)
        if len(languages) + 4 > len(self.reserved):
            raise UserError(f"found {len(languages)} languages, but there are tags for only {len(self.reserved) - 4}.")
        opening, closing, opening_draft, closing_draft, *tags = self.reserved
        self._marks = Marks(
            (opening, closing), (opening_draft, closing_draft), dict(zip(languages, tags, strict=False))
        )
        self.phase = Phase(steps=0, learning_rate=0.0, spelled_share=0.0, loudest=1.0)
        self._spelling = functools.cache(self._spell)

    def batches(self, rng: np.random.Generator, count: int = 16) -> list[list[Example]]:
        """`count` batches, in random order, each with examples of similar length."""
        size = self.recipe.batch
        examples = sorted((self.example(rng) for _ in range(count * size)), key=lambda example: len(example.ids))
        return [examples[start * size : (start + 1) * size] for start in rng.permutation(count)]

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def example(self, rng: np.random.Generator) -> Example:
        """A turn as it might be heard, the prompt, at times the previous turns; then the turn itself."""
        group = self.groups[rng.choice(len(self.groups), p=self._shares)]
        grammar = load_grammar(group.language)
        turns = [t.text for t in grammar.exchange(rng, _is_train)]
        if rng.random() < self.recipe.context_share:
            turns = [t.text for t in grammar.exchange(rng, _is_train)] + turns
        chosen = int(rng.integers(len(turns)))
        texts = [normalise_reference(text) for text in turns]
        context = texts[max(0, chosen - 2) : chosen] if rng.random() < self.recipe.context_share else []
        prompt = group.prompt if rng.random() < 0.5 else ENGLISH_PROMPT
        spelled = rng.random() < self.phase.spelled_share
        length, mixture = (self._heard if spelled else self._noisy)(texts[chosen], rng)
        marked = rng.random() < self.phase.markup_share
        around = [self._marks.answer[0]] if marked else []
        before = [*self._ids("USER:"), *around]
        after = [*around, *self._ids("\n".join([f" {prompt}", *context]) + " ASSISTANT:")]
        answer = self._answer(texts[chosen], group, marked, rng)
        ids = [*before, *[self._blank] * length, *after, *answer.ids]
        return Example(ids, (len(before), len(before) + length), answer.learnt, mixture)

    def _answer(self, text: str, group: Group, marked: bool, rng: np.random.Generator) -> Answer:
        if not marked:
            return plain_answer(text, self._ids, self.tokenizer.eos_token_id)
        draft = None
        if rng.random() < self.phase.draft_share:
            draft = misheard(text, group, rng) if rng.random() < 0.6 else text
        return marked_answer(text, draft, group, self._marks, self._ids, self.tokenizer.eos_token_id)

    def _noisy(self, text: str, rng: np.random.Generator) -> tuple[int, list[tuple[int, int, float]]]:
        """Pieces of the text, one per position: some dropped, replaced or repeated, with blanks in between."""
        pieces = self._split(self._ids(f" {text}"), (0.0, 0.25, 0.6)[rng.integers(3)], rng)
        drop, replace, blank = rng.uniform(0, 0.15), rng.uniform(0, 0.2), rng.uniform(0, 0.6)
        noisy: list[int] = []
        for piece in pieces:
            if rng.random() < drop:
                continue
            if rng.random() < replace:
                piece = int(rng.integers(3, self.recipe.vocabulary))
            noisy += [piece] * int(rng.integers(1, 3))
            if rng.random() < blank:
                noisy += [self._blank] * int(rng.integers(1, 3))
        noisy = noisy or [self._blank]
        return len(noisy), [(position, piece, 1.0) for position, piece in enumerate(noisy)]

    def _split(self, pieces: Sequence[int], share: float, rng: np.random.Generator) -> list[int]:
        """The same text in smaller pieces, closer to sounds: undoes a `share` of all merges of two pieces."""
        smaller: list[int] = []
        for piece in pieces:
            if piece in self._halves and rng.random() < share:
                smaller += self._split(self._halves[piece], share, rng)
            else:
                smaller.append(piece)
        return smaller

    def _heard(self, text: str, rng: np.random.Generator) -> tuple[int, list[tuple[int, int, float]]]:
        """Characters spread over time like sounds: several share a position of 100 ms, spill into the next or get lost.

        That is what a projector feeds a frozen language model: sums of what it heard in each 100 ms.
        """
        text = characters(text)
        wide = sum(c >= "\u3040" for c in text) > len(text) / 2  # kana and kanji: a syllable per character
        rate = rng.uniform(0.4, 0.9) if wide else rng.uniform(1.0, 1.8)  # characters per position
        drop, replace, spread = rng.uniform(0, 0.12), rng.uniform(0, 0.15), rng.uniform(0, 0.5)
        mixture: list[tuple[int, int, float]] = []
        time = rng.uniform(0, 2)
        for character in text:
            time += rng.uniform(0.5, 1.5) / rate
            if rng.random() < drop:
                continue
            if rng.random() < replace:
                character = text[rng.integers(len(text))]
            weight = rng.uniform(0.6, 1.0)
            for token in self._spelling(character):
                mixture.append((int(time), token, weight))
                if rng.random() < spread:
                    mixture.append((int(time) + 1, token, weight * rng.uniform(0.2, 0.6)))
        length = int(time) + 2 + int(rng.integers(0, 3))
        filled = {position for position, _, _ in mixture}
        mixture += [(position, self._blank, 1.0) for position in range(length) if position not in filled]
        return length, mixture

    def _spell(self, character: str) -> tuple[int, ...]:
        """The tokens of a character's bytes."""
        # Byte-level BPE represents each byte as a printable character.
        return tuple(self._byte_pieces[byte] for byte in self._pre_tokenizer.pre_tokenize_str(character)[0][0])


def _is_train(text: str) -> bool:
    return split_of(text) == "train"


@dataclass(frozen=True)
class Batch:
    """Examples as tensors: ids, mask and labels (B, L; labels -100 before the answer), the noisy positions (B, L), and
    for each summand of the noisy embeddings its index among the noisy positions, its token and its weight (N,).
    """

    ids_BL: torch.Tensor
    mask_BL: torch.Tensor
    labels_BL: torch.Tensor
    noisy_BL: torch.Tensor
    index_N: torch.Tensor
    token_N: torch.Tensor
    weight_N: torch.Tensor


def collate(examples: Sequence[Example], pad: int) -> Batch:
    """Batch of examples, padded on the right."""
    length = max(len(example.ids) for example in examples)
    ids_BL = torch.full((len(examples), length), pad)
    mask_BL = torch.zeros(len(examples), length, dtype=torch.long)
    noisy_BL = torch.zeros(len(examples), length, dtype=torch.bool)
    labels_BL = torch.full_like(ids_BL, -100)
    summands: list[tuple[int, int, float]] = []
    offset = 0
    for row, example in enumerate(examples):
        ids = torch.tensor(example.ids)
        first, last = example.noisy
        ids_BL[row, : len(ids)] = ids
        mask_BL[row, : len(ids)] = 1
        noisy_BL[row, first:last] = True
        answer = slice(example.answer, len(ids))
        labels_BL[row, answer] = ids[answer].where(torch.tensor(example.learnt), -100)
        summands += [(offset + position, token, weight) for position, token, weight in example.mixture]
        offset += last - first
    indices, tokens, weights = zip(*summands, strict=True)
    return Batch(
        ids_BL, mask_BL, labels_BL, noisy_BL, torch.tensor(indices), torch.tensor(tokens), torch.tensor(weights)
    )


def embed(batch: Batch, table: torch.Tensor, loudest: float, unknown: Sequence[int]) -> torch.Tensor:
    """Input embeddings (B, L, h); the noisy copy's are summed, mixed with random tokens' and noise, and scaled.

    A projector's outputs are not rows of the table: the language model must cope with vectors near one, and up to
    `loudest` times as long, because nothing ties a projector's outputs to the norm of embeddings. Tokens in `unknown`
    are not read as their rows either: tokens added later start at the mean of all rows.
    """
    embedded_BLh = table[batch.ids_BL]
    count = int(batch.noisy_BL.sum())
    summed = torch.zeros(count, table.shape[1]).index_add(
        0, batch.index_N, table[batch.token_N] * batch.weight_N.unsqueeze(-1)
    )
    others = table[torch.randint(len(table), (count,))]
    share = 0.3 * torch.rand(count, 1)
    scale = table.detach().pow(2).mean().sqrt() * 0.5 * torch.rand(count, 1)
    mixed = (1 - share) * summed + share * others + scale * torch.randn_like(others)
    # One factor per utterance: a projector is equally loud throughout.
    rows = batch.noisy_BL.nonzero()[:, 0]
    mixed = mixed * loudest ** torch.rand(len(batch.noisy_BL), 1)[rows]
    embedded_BLh = embedded_BLh.masked_scatter(batch.noisy_BL.unsqueeze(-1), mixed)
    marks = torch.isin(batch.ids_BL, torch.tensor(unknown))
    spread = torch.rand(int(marks.sum()), 1) * torch.randn(int(marks.sum()), table.shape[1])
    return embedded_BLh.masked_scatter(marks.unsqueeze(-1), table.mean(0) + table.std(0) * spread)
