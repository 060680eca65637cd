"""What the speakers of the demo corpus say: a small grammar per language, whose turns depend on earlier ones."""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
import string
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Literal

import numpy as np
import yaml

from mlcslm.errors import FaultyInput, UserError

HELD_OUT = 0.12
"""Share of all sentences reserved for dev, and the same share for test."""

_CALLS_PER_EXCHANGE = 400
_EXCHANGES_PER_DRAW = 4
_TURNS = range(2, 6)


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation: the speaker (0 or 1) and what they say, as transcribed by a careful annotator."""

    speaker: int
    text: str


@dataclass(frozen=True)
class Template:
    """A sentence with slots in braces; `slots` names them in order of appearance, each once."""

    text: str
    slots: tuple[str, ...]

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the sentence with its slots filled, its first letter a capital, in Unicode form NFC.

        >>> Template("{day} it rains.", ("day",)).fill({"day": "on Monday"})
        'On Monday it rains.'
        """
        text = unicodedata.normalize("NFC", self.text.format_map(values))
        first = next((i for i, character in enumerate(text) if character.isalpha()), 0)
        return text[:first] + text[first].upper() + text[first + 1 :]


@dataclass(frozen=True)
class Grammar:
    """Exchanges of one language (ISO 639-1), in which two speakers alternate; a slot keeps its value within one."""

    language: str
    slots: Mapping[str, tuple[str, ...]]
    exchanges: tuple[tuple[Template, ...], ...]

    def exchange(self, rng: np.random.Generator, accept: Callable[[str], bool]) -> list[Turn]:
        """Draw an exchange whose turns `accept` all accepts; turns without a slot (back-channels) are always accepted.

        Either speaker begins. If no slot values fit all turns of the few exchanges tried, the longest accepted
        beginning is returned (at least one turn). Raises UserError if `accept` rejects every first turn.
        """
        best: list[str] = []
        for tried, index in enumerate(rng.permutation(len(self.exchanges))):
            if best and tried >= _EXCHANGES_PER_DRAW:
                break
            templates = self.exchanges[index]
            search = _Search(templates, self.slots, rng, accept)
            if search.extend([], {}):
                best = search.longest
                break
            best = max(best, search.longest, key=len)
        if not best:
            raise UserError(f"demo grammar {self.language}: every first turn of an exchange was rejected; accept more.")
        first = int(rng.integers(2))
        return [Turn((first + i) % 2, text) for i, text in enumerate(best)]

    def acknowledgements(self) -> list[str]:
        """What a listener says in a word, such as "Yes.": the openings of turns without a slot, in file order.

        >>> load_grammar("en").acknowledgements()
        ['Yes.']
        """
        whole = [turn.text for turn in itertools.chain.from_iterable(self.exchanges) if not turn.slots]
        # Thai has no commas: a space separates its phrases.
        parted = [re.split(r"[,、]" if self.language != "th" else " ", text, maxsplit=1) for text in whole]
        full_stop = {"ja": "。", "th": ""}.get(self.language, ".")
        return list(dict.fromkeys(parts[0] + full_stop for parts in parted if len(parts) > 1)) or whole[:1]

    def sentences(self) -> Iterator[str]:
        """Yield every distinct sentence of the grammar, in file order."""
        seen: set[str] = set()
        for template in itertools.chain.from_iterable(self.exchanges):
            for values in itertools.product(*(self.slots[slot] for slot in template.slots)):
                text = template.fill(dict(zip(template.slots, values, strict=True)))
                if text not in seen:
                    seen.add(text)
                    yield text

    def size(self) -> int:
        """Return the number of distinct sentences."""
        return sum(1 for _ in self.sentences())


@dataclass
class _Search:
    """Depth-first search, in random order, for slot values that make every turn of an exchange accepted.

    Drawing all turns' values at once would succeed with probability `share ** turns`; turn by turn, a rejection costs a
    single call.
    """

    templates: tuple[Template, ...]
    slots: Mapping[str, tuple[str, ...]]
    rng: np.random.Generator
    accept: Callable[[str], bool]
    calls_left: int = _CALLS_PER_EXCHANGE
    longest: list[str] = field(default_factory=list)

    def extend(self, texts: list[str], values: Mapping[str, str]) -> bool:
        """Add the turns after `texts`; True when all are accepted. `longest` has the best beginning so far."""
        if len(texts) > len(self.longest):
            self.longest = texts
        if len(texts) == len(self.templates):
            return True
        template = self.templates[len(texts)]
        free = [slot for slot in template.slots if slot not in values]
        for chosen in self._shuffled(free):
            filled = {**values, **chosen}
            text = template.fill(filled)
            if template.slots:
                if self.calls_left == 0:
                    return False
                self.calls_left -= 1
                if not self.accept(text):
                    continue
            if self.extend([*texts, text], filled):
                return True
        return False

    def _shuffled(self, slots: list[str]) -> Iterator[dict[str, str]]:
        shape = [len(self.slots[slot]) for slot in slots]
        for number in self.rng.permutation(int(np.prod(shape, dtype=int))):
            chosen = {}
            rest = int(number)
            for slot, size in zip(slots, shape, strict=True):
                rest, index = divmod(rest, size)
                chosen[slot] = self.slots[slot][index]
            yield chosen


@functools.lru_cache(maxsize=1 << 17)
def split_of(sentence: str) -> Literal["train", "dev", "test"]:
    """Return the split a sentence belongs to, regardless of case, spaces and punctuation.

    >>> split_of("Yes, of course.") == split_of("yes of course")
    True
    """
    folded = unicodedata.normalize("NFC", sentence.lower())
    kept = "".join(character for character in folded if unicodedata.category(character)[0] not in "PZSC")
    share = int.from_bytes(hashlib.sha256(kept.encode()).digest()[:8], "big") / 2**64
    if share < HELD_OUT:
        return "dev"
    return "test" if share < 2 * HELD_OUT else "train"


def languages() -> list[str]:
    """Return the languages (ISO 639-1) that have a grammar, sorted."""
    return sorted(file.name.removesuffix(".yaml") for file in _folder().iterdir() if file.name.endswith(".yaml"))


@functools.cache
def load_grammar(language: str) -> Grammar:
    """Return the grammar of a language (ISO 639-1). Raises UserError if there is none or its file has faults."""
    if language not in languages():
        raise UserError(
            f"demo grammar: no grammar for language {language!r}; expected one of {', '.join(languages())}."
        )
    file = _folder().joinpath(f"{language}.yaml")
    return parse_grammar(file.read_text(encoding="utf-8"), language, str(file))


def parse_grammar(source: str, language: str, name: str) -> Grammar:
    """Return the grammar written in YAML `source`; `name` is the file's, for messages. Raises UserError on faults."""
    try:
        tree = yaml.safe_load(source)
    except yaml.YAMLError as error:
        raise UserError(f"{name}: not valid YAML: {error}") from error
    if not isinstance(tree, dict) or set(tree) != {"slots", "exchanges"}:
        raise UserError(f"{name}: expected a mapping with exactly the keys 'slots' and 'exchanges'.")
    if not isinstance(tree["slots"], dict) or not isinstance(tree["exchanges"], list) or not tree["exchanges"]:
        raise UserError(f"{name}: expected 'slots' to be a mapping and 'exchanges' a non-empty list.")
    faults = [*_slot_faults(tree["slots"]), *_exchange_faults(tree["exchanges"], tree["slots"])]
    if faults:
        raise FaultyInput(f"{name}: faults in the grammar; correct these lines:", faults)
    slots = {slot: tuple(values) for slot, values in tree["slots"].items()}
    exchanges = tuple(tuple(Template(text, _slots_of(text)) for text in turns) for turns in tree["exchanges"])
    return Grammar(language, slots, exchanges)


def _folder() -> resources.abc.Traversable:
    return resources.files("mlcslm.corpus.demo").joinpath("grammar")


def _slots_of(text: str) -> tuple[str, ...]:
    """Slots of a template. Raises ValueError for misplaced braces and format specifications."""
    names = []
    for _, slot, specification, conversion in string.Formatter().parse(text):
        if specification or conversion or slot == "":
            raise ValueError("expected braces only around a slot's name")
        if slot is not None:
            names.append(slot)
    return tuple(dict.fromkeys(names))


def _slot_faults(slots: Mapping[str, object]) -> Iterator[str]:
    for slot, values in slots.items():
        if not isinstance(values, list) or not values:
            yield f"slots.{slot}: expected a non-empty list of words or phrases, found {values!r}."
        elif bad := [value for value in values if not isinstance(value, str) or not value.strip()]:
            yield f"slots.{slot}: expected words or phrases (quote yes, no, numbers), found {bad[0]!r}."
        elif len(set(values)) < len(values):
            yield f"slots.{slot}: an entry is listed twice; remove one."


def _exchange_faults(exchanges: list[object], slots: Mapping[str, object]) -> Iterator[str]:
    for number, turns in enumerate(exchanges, start=1):
        if not isinstance(turns, list) or len(turns) not in _TURNS:
            yield f"exchange {number}: expected a list of {_TURNS[0]} to {_TURNS[-1]} turns, found {turns!r}."
            continue
        for text in turns:
            if not isinstance(text, str) or not text.strip():
                yield f"exchange {number}: expected a quoted sentence, found {text!r}."
                continue
            try:
                unknown = [slot for slot in _slots_of(text) if slot not in slots]
            except ValueError as error:
                yield f"exchange {number}: {text!r}: {error}."
                continue
            for slot in unknown:
                yield f"exchange {number}: {text!r}: unknown slot {slot!r}; slots are {', '.join(map(str, slots))}."
