"""The demo corpus: two-speaker conversations in every group, exactly transcribed, in the MLC-SLM layout."""

from __future__ import annotations

import itertools
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcslm.config.languages import Group, group_shares
from mlcslm.config.schema import DemoCorpusConfig, DemoGaps
from mlcslm.corpus.augmentation import generate_noises, generate_room_responses
from mlcslm.corpus.demo.grammar import load_grammar, split_of
from mlcslm.corpus.demo.synthesis import SAMPLE_RATE, Voice, speak_many
from mlcslm.corpus.demo.voices import draw_voice
from mlcslm.corpus.layout import DEMO_MARKER, Utterance, write_session
from mlcslm.errors import UserError
from mlcslm.io.files import write_json
from mlcslm.runtime.progress import watched

# Gaps between utterances of the challenge's dev set: five quantiles each, measured from the times in the utterance ids
# of its published baseline results (110 sessions, 29,952 utterances, none overlapping, 13,246 speaker changes).
_GAP_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_GAPS_AT_CHANGES_S = (0.0, 0.02, 0.14, 0.61, 1.5)
_GAPS_WITHIN_SPEAKER_S = (0.01, 0.07, 0.32, 0.75, 1.56)
# There, 14 % of the time between utterances of 3.9 s is silent. Those of the demo last 2.2 s, so its gaps end earlier.
_LONGEST_GAP_S = 1.05
# How often an exchange is acknowledged ("Yes."): in dev, 11 % of the utterances last less than a second.
_ACKNOWLEDGED_SHARE = 0.37

# The profile `pauses`: 0.1 s and more, and one turn in ten begins before the other speaker has finished.
_MEAN_PAUSE_S, _OVERLAP_SHARE, _LONGEST_OVERLAP_S = 0.35, 0.1, 0.4

_SPEECH_LEVEL, _NOISE_LEVEL = 0.08, 0.0008


@dataclass(frozen=True)
class Script:
    """The script of a session: its name, the two voices, and the turns as (speaker 0 or 1, text)."""

    group: Group
    session: str
    voices: tuple[Voice, Voice]
    turns: tuple[tuple[int, str], ...]
    seed: int


def write_demo_corpus(
    root: str | os.PathLike[str], config: DemoCorpusConfig, groups: dict[str, Group], *, seed: int, workers: int
) -> None:
    """Write `train`, `dev` and `test` under `root`, noises and room responses in `augmentation`; last `corpus.json`.

    A pure function of `config`, `groups` and `seed`; voices and sentences of dev and test never occur in train. Folders
    of an earlier demo corpus are removed first.
    """
    root = Path(root)
    n_train = config.train_sessions * len(groups)
    sessions = {
        "train": {name: max(1, round(share * n_train)) for name, share in group_shares(groups).items()},
        "dev": dict.fromkeys(groups, config.dev_sessions),
        "test": dict.fromkeys(groups, config.test_sessions),
    }
    _remove_earlier(root, tuple(sessions))
    summary: dict[str, dict[str, float]] = {}
    for split, counts in sessions.items():
        scripts = [
            write_script(group, split, index, config.turns_per_session, seed, config.gaps)
            for group in groups.values()
            for index in range(counts[group.group])
        ]
        seconds = 0.0
        spoken = zip(scripts, _speak(scripts, workers), strict=True)
        for script, audio in watched(spoken, f"demo corpus, {split}", "session", total=len(scripts)):
            mixture, utterances = mix(script, audio, config.gaps)
            # Like the challenge's, the training set has one more folder level.
            subfolder = script.session.split("_")[0] if split == "train" else ""
            write_session(root / split, script.group, script.session, mixture, SAMPLE_RATE, utterances, subfolder)
            seconds += len(mixture) / SAMPLE_RATE
        turns = sum(len(script.turns) for script in scripts)
        summary[split] = {"sessions": len(scripts), "utterances": turns, "hours": round(seconds / 3600, 3)}
    generate_noises(root / "augmentation" / "noise", seed, config.noises)
    generate_room_responses(root / "augmentation" / "room", seed, config.room_responses)
    write_json(root / "corpus.json", {"seed": seed, "config": config.model_dump(), "splits": summary})


def _remove_earlier(root: Path, splits: Sequence[str]) -> None:
    """Remove the splits of an earlier demo corpus; raises UserError if they may be the user's own recordings."""
    there = [root / split for split in splits if (root / split).exists()]
    if there and not (root / DEMO_MARKER).is_file() and not (root / "corpus.json").is_file():
        raise UserError(
            f"{there[0]}: exists, but is not part of a demo corpus. Move it away, or set `results` to another folder."
        )
    root.mkdir(parents=True, exist_ok=True)
    # A marker of our own, since Snakemake removes corpus.json before its job begins.
    (root / DEMO_MARKER).touch()
    (root / "corpus.json").unlink(missing_ok=True)
    for folder in there:
        shutil.rmtree(folder)


def write_script(
    group: Group, split: str, index: int, turns: int, seed: int, gaps: DemoGaps = "conversation"
) -> Script:
    """Draw the two speakers of a session and what they say: exchanges of the grammar until there are `turns` turns.

    With the gaps of conversation, the listener acknowledges one exchange in three by a word.
    """
    own_seed = zlib.crc32(f"{seed}/{group.group}/{split}/{index}".encode())
    rng = np.random.default_rng(own_seed)
    first = draw_voice(group.group, split, rng)
    voices = (first, draw_voice(group.group, split, rng, unlike=first))
    grammar = load_grammar(group.language)
    acknowledgements = grammar.acknowledgements()
    said: list[tuple[int, str]] = []
    while len(said) < turns:
        exchange = grammar.exchange(rng, lambda text: split_of(text) == split)
        said += [(turn.speaker, turn.text) for turn in exchange]
        if gaps == "conversation" and rng.random() < _ACKNOWLEDGED_SHARE:
            said.append((1 - exchange[-1].speaker, acknowledgements[rng.integers(len(acknowledgements))]))
    number = {"train": 0, "dev": 600, "test": 800}[split] + index
    return Script(group, f"{number:04d}_{own_seed % 1000:03d}", voices, tuple(said[:turns]), own_seed)


def _speak(scripts: list[Script], workers: int) -> Iterator[list[np.ndarray]]:
    """Audio of every turn, one list per script. A process speaks all turns of one speaker: its voice is set up once."""
    batches = (
        [(script.voices[who], text) for speaker, text in script.turns if speaker == who]
        for script in scripts
        for who in (0, 1)
    )
    spoken = speak_many(batches, workers)
    for script in scripts:
        by_speaker = [iter(audio) for audio in itertools.islice(spoken, 2)]
        yield [next(by_speaker[speaker]) for speaker, _ in script.turns]


def mix(script: Script, turns: list[np.ndarray], gaps: DemoGaps = "conversation") -> tuple[np.ndarray, list[Utterance]]:
    """Place a session's turns in sequence; return the mixture (float32, 16 kHz, mono) and its utterances."""
    rng = np.random.default_rng(script.seed + 1)
    gains = rng.uniform(0.7, 1.3, size=2)
    starts = first_samples([speaker for speaker, _ in script.turns], [len(audio) for audio in turns], gaps, rng)
    length = max(start + len(audio) for start, audio in zip(starts, turns, strict=True))
    mixture = rng.normal(0, _NOISE_LEVEL, length + round(0.3 * SAMPLE_RATE)).astype(np.float32)
    utterances: list[Utterance] = []
    for (speaker, text), audio, start in zip(script.turns, turns, starts, strict=True):
        end = start + len(audio)
        level = np.sqrt(np.mean(np.square(audio))) + 1e-9
        mixture[start:end] += audio * (_SPEECH_LEVEL * gains[speaker] / level)
        utterances.append(Utterance(f"O{speaker + 1}", start / SAMPLE_RATE, end / SAMPLE_RATE, text))
    return np.clip(mixture, -1, 1), utterances


def first_samples(
    speakers: Sequence[int], lengths: Sequence[int], gaps: DemoGaps, rng: np.random.Generator
) -> list[int]:
    """Where each turn begins, in samples; `speakers` (0 or 1) and `lengths` (samples) are the turns', in order."""
    place = _after_a_gap if gaps == "conversation" else _after_a_pause
    ends = [0.0, 0.0]
    firsts: list[int] = []
    last_speaker: int | None = None
    for speaker, length in zip(speakers, lengths, strict=True):
        firsts.append(round(max(place(ends, speaker, last_speaker, rng), 0.2) * SAMPLE_RATE))
        ends[speaker] = (firsts[-1] + length) / SAMPLE_RATE
        last_speaker = speaker
    return firsts


def _after_a_gap(ends: Sequence[float], speaker: int, last_speaker: int | None, rng: np.random.Generator) -> float:
    """Start in seconds of a turn of `speaker`, given the end of each speaker's last one: as in conversation."""
    seconds = _GAPS_WITHIN_SPEAKER_S if speaker == last_speaker else _GAPS_AT_CHANGES_S
    return max(ends) + min(float(np.interp(rng.random(), _GAP_QUANTILES, seconds)), _LONGEST_GAP_S)


def _after_a_pause(ends: Sequence[float], speaker: int, last_speaker: int | None, rng: np.random.Generator) -> float:
    """The same with pauses of 0.1 s and more, and one turn in ten that overlaps the other speaker's."""
    last = max(ends)
    if last_speaker is not None and ends[1 - speaker] == last and rng.random() < _OVERLAP_SHARE:
        start = last - rng.uniform(0.1, _LONGEST_OVERLAP_S)
    else:
        start = last + 0.1 + rng.exponential(_MEAN_PAUSE_S)
    return max(start, ends[speaker] + 0.05)
