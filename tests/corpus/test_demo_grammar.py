"""The demo corpus' grammars: size, spelling, splits, and conversations whose turns depend on each other."""

from __future__ import annotations

import hashlib
import itertools
import re
import time
import unicodedata

import numpy as np
import pytest

from mlcslm.corpus.demo.grammar import languages, load_grammar, parse_grammar, split_of
from mlcslm.errors import UserError

LANGUAGES = languages()
WITHOUT_SPACES = {"ja", "th"}
SLOTS = {"name", "place", "food", "day", "activity", "thing", "time"}
GOOD = "slots: {name: [Anna, Peter]}\nexchanges:\n  - ['Is {name} here?', 'Yes, {name} is here.']\n"


def words(sentence: str) -> list[str]:
    return ["".join(c for c in w if unicodedata.category(c)[0] in "LM") for w in sentence.lower().split()]


@pytest.fixture(params=LANGUAGES)
def grammar(request):
    return load_grammar(request.param)


def test_every_language_of_the_corpus_has_a_grammar():
    assert set(LANGUAGES) == {"en", "fr", "de", "it", "pt", "es", "ja", "ko", "ru", "th", "vi"}


@pytest.mark.slow
def test_size_and_shape(grammar):
    sentences = list(grammar.sentences())
    assert len(sentences) == len(set(sentences)) == grammar.size() >= 4000
    assert set(grammar.slots) == SLOTS
    assert all(8 <= len(values) <= 14 for values in grammar.slots.values())
    assert len(grammar.exchanges) == 14
    turns = list(itertools.chain.from_iterable(grammar.exchanges))
    assert 0.05 <= sum(not turn.slots for turn in turns) / len(turns) <= 0.15


@pytest.mark.slow
def test_vocabulary_is_small_and_turns_short(grammar):
    sentences = list(grammar.sentences())
    if grammar.language in WITHOUT_SPACES:
        assert len(set("".join(sentences))) <= 110
        assert max(map(len, sentences)) <= 60
    else:
        assert 100 <= len({word for sentence in sentences for word in words(sentence)}) <= 165
        lengths = [len(sentence.split()) for sentence in sentences]
        assert max(lengths) <= (18 if grammar.language == "vi" else 13)
        assert np.mean(lengths) >= 4


@pytest.mark.slow
def test_spelling(grammar):
    for sentence in grammar.sentences():
        assert not re.search(r"[\d{}()/%&@\"_-]|\s\s|^\s|\s$", sentence), sentence
        assert sentence[-1] in ".?!。？" or grammar.language == "th", sentence
        assert unicodedata.is_normalized("NFC", sentence)
        letter = next(c for c in sentence if c.isalpha())
        assert letter == letter.upper()


def test_acknowledgements_are_words_of_the_language(grammar):
    """One to three, each the beginning of a turn without slots, spelled like a sentence."""
    said = grammar.acknowledgements()
    whole = [turn.text for turn in itertools.chain.from_iterable(grammar.exchanges) if not turn.slots]
    assert 1 <= len(said) <= 3
    for text in said:
        assert any(turn.startswith(text.rstrip(".。")) for turn in whole)
        assert len(text.split()) == 1
        assert text[-1] in ".。" or grammar.language == "th"


SCRIPTS = {
    "ja": r"[\u3041-\u3096\u30a1-\u30faー、。？]+",
    "th": r"[\u0e01-\u0e3a\u0e40-\u0e4e ]+",
    "ko": r"[\uac00-\ud7a3 .,?]+",
    "ru": r"[А-Яа-яЁё .,?]+",
}


@pytest.mark.parametrize("language", sorted(set(SCRIPTS) & set(LANGUAGES)))
def test_script(language):
    pattern = re.compile(SCRIPTS[language])
    assert [s for s in load_grammar(language).sentences() if not pattern.fullmatch(s)] == []


@pytest.mark.slow
def test_splits_hold_out_twelve_percent_each(grammar):
    sentences = list(grammar.sentences())
    counts = {split: sum(split_of(s) == split for s in sentences) for split in ("train", "dev", "test")}
    assert sum(counts.values()) == len(sentences)
    # 3.5 standard deviations of a binomial share over the at least 4000 sentences.
    margin = 3.5 * (0.12 * 0.88 / len(sentences)) ** 0.5
    assert abs(counts["dev"] / len(sentences) - 0.12) < margin
    assert abs(counts["test"] / len(sentences) - 0.12) < margin


def test_split_is_of_the_hash_of_the_bare_sentence():
    share = int(hashlib.sha256(b"yesofcourse").hexdigest()[:16], 16) / 16**16
    expected = "dev" if share < 0.12 else "test" if share < 0.24 else "train"
    assert split_of("Yes, of course.") == split_of("YES of   course!") == expected


def test_later_turns_repeat_a_slot_of_an_earlier_one(grammar):
    for templates in grammar.exchanges:
        seen = set(templates[0].slots)
        assert seen
        for template in templates[1:]:
            assert not template.slots or seen & set(template.slots), template.text
            seen = set(template.slots) or seen


def test_drawn_exchange_repeats_words(grammar):
    rng = np.random.default_rng(3)
    values = [value for kind in grammar.slots.values() for value in kind]
    for _ in range(100):
        turns = grammar.exchange(rng, lambda sentence: True)
        first, second = turns[0].text.lower(), turns[1].text.lower()
        assert any(value.lower() in first and value.lower() in second for value in values), (first, second)


def test_exchange_is_of_known_sentences_said_in_turn(grammar):
    known = set(grammar.sentences())
    rng = np.random.default_rng(0)
    starts = set()
    for _ in range(100):
        turns = grammar.exchange(rng, lambda sentence: True)
        assert 2 <= len(turns) <= 5
        assert {turn.text for turn in turns} <= known
        assert all(a.speaker != b.speaker for a, b in itertools.pairwise(turns))
        starts.add(turns[0].speaker)
    assert starts == {0, 1}


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_exchange_keeps_to_its_split(grammar, split):
    rng = np.random.default_rng(1)
    back_channels = {t.text for turns in grammar.exchanges for t in turns if not t.slots}
    lengths = []
    begin = time.process_time()
    for _ in range(100):
        turns = grammar.exchange(rng, lambda sentence: split_of(sentence) == split)
        lengths.append(len(turns))
        assert all(turn.text in back_channels or split_of(turn.text) == split for turn in turns)
    assert (time.process_time() - begin) / 100 < 0.02
    assert np.mean(lengths) > 2.5


def test_exchange_is_determined_by_the_generator(grammar):
    def draw(seed):
        rng = np.random.default_rng(seed)
        return [grammar.exchange(rng, lambda s: split_of(s) == "train") for _ in range(5)]

    assert draw(7) == draw(7) != draw(8)


def test_exchange_is_cut_where_no_values_suit():
    grammar = parse_grammar(GOOD, "en", "en.yaml")
    turns = grammar.exchange(np.random.default_rng(0), lambda sentence: sentence == "Is Anna here?")
    assert [turn.text for turn in turns] == ["Is Anna here?"]
    with pytest.raises(UserError, match="rejected"):
        grammar.exchange(np.random.default_rng(0), lambda sentence: False)


@pytest.mark.parametrize(
    ("found", "wrong", "message"),
    [
        ("{name} here", "{nmae} here", "unknown slot 'nmae'"),
        ("{name} here", "{name here", "exchange 1"),
        ("[Anna, Peter]", "[]", "slots.name"),
        ("[Anna, Peter]", "[Anna, yes]", "slots.name.*True"),
        ("[Anna, Peter]", "[Anna, Anna]", "twice"),
        ("'Is {name} here?', ", "", "2 to 5 turns"),
        ("exchanges:", "exchange:", "'exchanges'"),
        ("exchanges:", "\texchanges:", "not valid YAML"),
    ],
)
def test_faulty_file_is_refused_by_name(found, wrong, message):
    assert parse_grammar(GOOD, "en", "demo/en.yaml").size() == 4
    with pytest.raises(UserError, match=f"(?s)demo/en.yaml.*{message}"):
        parse_grammar(GOOD.replace(found, wrong), "en", "demo/en.yaml")


def test_unknown_language_is_refused():
    with pytest.raises(UserError, match="'xx'"):
        load_grammar("xx")
