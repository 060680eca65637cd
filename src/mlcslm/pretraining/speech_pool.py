"""Speech to pretrain the demo's encoder on: grammar sentences of the training split in the training voices."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlcslm.config.languages import Group, group_shares
from mlcslm.corpus.augmentation import Augmenter, generate_noises, generate_room_responses
from mlcslm.corpus.demo.grammar import load_grammar, split_of
from mlcslm.corpus.demo.synthesis import Voice, speak_many
from mlcslm.corpus.demo.voices import draw_voice
from mlcslm.io.files import atomic_folder

_SENTENCES_PER_VOICE = 20
# An encoder this small learns nothing from speech at 0 dB.
_SNR_DB = (5.0, 20.0)
_FILES = ("mels.f16", "index.jsonl")


def write_speech_pool(
    folder: str | os.PathLike[str], groups: dict[str, Group], *, hours: float, seed: int, workers: int, mels: int = 80
) -> None:
    """Synthesise about `hours` of sentences, half of them augmented, and store their log-mels.

    Writes `mels.f16` (all frames concatenated, float16, (frames, mels), 100 per second) and `index.jsonl` (one line per
    utterance: first frame, frames, group, text).
    """
    from transformers import WhisperFeatureExtractor

    extract = WhisperFeatureExtractor(feature_size=mels)
    rng = np.random.default_rng([seed, 1])
    with (
        tempfile.TemporaryDirectory() as sounds,
        atomic_folder(folder, "speech pool", own=_FILES) as temporary,
    ):
        generate_noises(Path(sounds) / "noise", seed + 1, 40)
        generate_room_responses(Path(sounds) / "room", seed + 1, 40)
        augment = Augmenter(0.5, Path(sounds) / "noise", Path(sounds) / "room", _SNR_DB)
        frames = 0
        with (
            open(temporary / "mels.f16", "wb") as data,
            open(temporary / "index.jsonl", "w", encoding="utf-8") as index,
        ):
            for group, text, audio in _spoken(groups, hours * 3600, seed, workers):
                level = np.sqrt(np.mean(np.square(audio))) + 1e-9
                audio = augment(audio * (rng.uniform(0.04, 0.12) / level), rng)
                audio = audio + rng.normal(0, 0.0008, len(audio)).astype(np.float32)
                mel = extract(
                    audio, sampling_rate=16_000, padding="longest", truncation=False, return_tensors="np"
                ).input_features[0]
                data.write(np.ascontiguousarray(mel.T).astype(np.float16).tobytes())
                index.write(
                    json.dumps(
                        {"first": frames, "frames": mel.shape[1], "group": group, "text": text}, ensure_ascii=False
                    )
                    + "\n"
                )
                frames += mel.shape[1]


def _spoken(groups: dict[str, Group], seconds: float, seed: int, workers: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield (group, text, audio at 16 kHz) of random voices and groups until `seconds` of audio are reached."""
    requested: list[tuple[str, list[str]]] = []

    def batches() -> Iterator[list[tuple[Voice, str]]]:
        shares = group_shares(groups)
        number = 0
        while True:
            rng = np.random.default_rng([seed, 2, number])
            group = groups[list(groups)[rng.choice(len(groups), p=list(shares.values()))]]
            voice = draw_voice(group.group, "train", rng)
            grammar = load_grammar(group.language)
            texts: list[str] = []
            while len(texts) < _SENTENCES_PER_VOICE:
                texts += [turn.text for turn in grammar.exchange(rng, lambda text: split_of(text) == "train")]
            requested.append((group.group, texts))
            yield [(voice, text) for text in texts]
            number += 1

    spoken = 0
    for number, audio in enumerate(speak_many(batches(), workers)):
        group, texts = requested[number]
        for text, samples in zip(texts, audio, strict=True):
            yield group, text, samples
            spoken += len(samples)
        if spoken / 16_000 >= seconds:
            return
