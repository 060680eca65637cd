"""Reinforcement teaches what can be learnt from the audio alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlcslm.config.decoding import DecodingConfig
from mlcslm.corpus.layout import Utterance, write_session
from mlcslm.corpus.manifest import build_manifest, write_manifest
from mlcslm.decoding.decoder import Decoder
from mlcslm.model.lora import merged_lora

pytestmark = pytest.mark.slow

PITCHES = {"yes": 200, "no": 2800}


@pytest.fixture(scope="module")
def two_words(tmp_path_factory: pytest.TempPathFactory, languages: dict[str, Any]) -> Path:
    """Manifest of 40 noisy utterances of various lengths, half of them a low tone, half a high one."""
    folder, rng = tmp_path_factory.mktemp("words"), np.random.default_rng(0)
    audio, utterances = [np.zeros(1600)], []
    for turn, word in enumerate(rng.permutation(["yes", "no"] * 20).tolist()):
        start = sum(map(len, audio)) / 16_000
        times = np.arange(int(rng.uniform(0.15, 0.4) * 16_000)) / 16_000
        audio += [0.3 * np.sin(2 * np.pi * PITCHES[word] * times)]
        utterances.append(Utterance(f"O{turn % 2 + 1}", start, sum(map(len, audio)) / 16_000, word))
        audio.append(np.zeros(800))
    mixture = np.concatenate(audio) + rng.normal(0, 0.02, sum(map(len, audio)))
    write_session(folder / "train", languages["English-American"], "0001_001", mixture, 16_000, utterances)
    write_manifest(build_manifest(folder / "train", languages)[0], folder / "train.parquet")
    return folder / "train.parquet"


def teach_the_form(model: Any, processor: Any, utterances: Any) -> None:
    """A little supervised training with three wrong answers in ten: it learns the format but hears little.

    Random encoders of the usual size ignore their input almost entirely; this one tells tones apart.
    """
    with torch.no_grad():
        model.model.encoder.conv1.weight *= 10
        model.model.encoder.conv2.weight *= 10
    rng = np.random.default_rng(91)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    model.train()
    for _ in range(90):
        examples = []
        for number in rng.integers(len(utterances), size=8).tolist():
            audio, samples = utterances.audio((0, number))
            word = utterances.rows[number]["text"]
            if rng.random() < 0.3:
                word = "no" if word == "yes" else "yes"
            tokens = processor.audio_token_count(samples)
            example = processor.encode_example("English-American", "plain", audio_tokens=tokens, transcript=word)
            examples.append(example | audio)
        optimizer.zero_grad()
        model(**processor.collate(examples)).loss.backward()
        optimizer.step()


def heard_right(raw: list[str], reference: list[str], **_: Any) -> list[float]:
    return [float(text.strip() == word) for text, word in zip(raw, reference, strict=True)]


def heard_share(trainer: Any) -> float:
    """Share of all utterances whose greedy answer is right.

    Rewards while training say less: they are of samples, and without a reference of the harder groups only.
    """
    model, rows = trainer.model.eval(), trainer.utterances.rows
    with merged_lora(model):
        decoding = DecodingConfig(method="greedy", max_new_tokens=6)
        found = Decoder(model, trainer.processor, "plain", decoding).decode(rows)
    return sum(one["transcript"] == row["text"] for one, row in zip(found, rows, strict=True)) / len(rows)


KINDS: dict[str, dict[str, Any]] = {
    "dr_grpo": {"temperature": 0.5, "kl_weight": 1e-3},
    "dr_grpo without reference": {"temperature": 1.0, "kl_weight": 0, "beam_rollouts": 0, "replacement_rounds": 1},
    "mwer": {"loss": "mwer", "temperature": 1.0, "kl_weight": 0, "beam_rollouts": 0},
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_to_tell_tones_apart(make_trainer: Callable[..., Any], two_words: Path, kind: str) -> None:
    trainer = make_trainer(
        manifest=two_words,
        template="plain",
        prepare=teach_the_form,
        rewards={"accuracy": heard_right},
        trains=["projector", "embedding", "head", "lm_lora"],
        steps=60,
        batch_size=8,
        learning_rate=1e-3,
        schedule="constant_with_warmup",
        **KINDS[kind],
    )
    began = time.process_time()
    trainer.train()
    seconds = time.process_time() - began
    rewards = [row["rewards/accuracy/mean"] for row in trainer.state.log_history if "reward" in row]
    assert sum(rewards[:5]) / 5 < 0.8
    assert sum(rewards[-10:]) / 10 > sum(rewards[:5]) / 5 + 0.1
    assert heard_share(trainer) > 0.95
    assert seconds < 60
