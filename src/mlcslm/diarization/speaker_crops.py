"""What speaker embeddings are trained on: stretches of the speakers of a manifest, at several speeds, with noise."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq
import soxr
import torch
from torch.utils.data import Dataset

from mlcslm.corpus.audio import SAMPLE_RATE, Audio, read_segment
from mlcslm.corpus.augmentation import Augmenter
from mlcslm.diarization.embedding import normalise
from mlcslm.diarization.fbank import FbankSettings, fbank
from mlcslm.errors import UserError

_SHORTEST_S = 0.3
# Streams of random numbers: the order of an epoch, and what a stretch is.
_ORDER, _STRETCH = 0, 1


class SpeakerCrops(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Batches by optimiser step, a pure function of (seed, step): fbank (B, T, 80) and speaker ids (B,).

    A speaker is one of a session of `manifest`: speakers of different sessions count as different. `speeds` other than
    1 change tempo and pitch together, and each makes as many new speakers: id = number of the speed x speakers +
    speaker, speed 1 being number 0. Every speaker comes once before one comes again. A stretch of `crop_s` is taken
    from an utterance drawn by its length, repeated where that is shorter, and augmented. `sessions`: only so many,
    evenly spread over all.

    Raises UserError where the manifest has fewer than two speakers.
    """

    def __init__(
        self,
        manifest: str | os.PathLike[str],
        *,
        steps: int,
        batch_size: int,
        crop_s: float,
        speeds: Sequence[float],
        augmenter: Augmenter | None,
        settings: FbankSettings,
        seed: int,
        sessions: int | None = None,
    ) -> None:
        self.voices = _utterances_by_speaker(manifest, sessions)
        self.speeds = (1.0, *(speed for speed in speeds if speed != 1))
        self.steps, self.batch_size, self.seed = steps, batch_size, seed
        self.samples = round(crop_s * SAMPLE_RATE)
        self.augmenter, self.settings = augmenter, settings

    @property
    def speakers(self) -> int:
        """Speakers to tell apart, those of other speeds included."""
        return len(self.voices) * len(self.speeds)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not 0 <= step < self.steps:
            raise IndexError(step)
        speakers = [self._speaker(step * self.batch_size + place) for place in range(self.batch_size)]
        features = [
            normalise(fbank(self.stretch(speaker, step, place), self.settings))
            for place, speaker in enumerate(speakers)
        ]
        return torch.from_numpy(np.stack(features)), torch.tensor(speakers)

    def stretch(self, speaker: int, step: int, place: int) -> Audio:
        """(samples,) of the speaker of that id, as drawn for a place of a step's batch."""
        rng = np.random.default_rng([self.seed, _STRETCH, step, place])
        number, voice = divmod(speaker, len(self.voices))
        audio, length = self._speech(voice, self.speeds[number], rng), self.samples
        if len(audio) < length:
            audio = np.resize(audio, length)
        first = int(rng.integers(len(audio) - length + 1))
        audio = audio[first : first + length]
        return audio if self.augmenter is None else self.augmenter(audio, rng)

    def _speech(self, voice: int, speed: float, rng: np.random.Generator) -> Audio:
        """About as much of one utterance as a stretch needs at this speed."""
        utterances = self.voices[voice]
        seconds = np.array([end - start for _, start, end in utterances])
        path, start, end = utterances[rng.choice(len(utterances), p=seconds / seconds.sum())]
        needed = (self.samples / SAMPLE_RATE) * speed
        if end - start > needed:
            start += rng.uniform(0, end - start - needed)
            end = start + needed
        audio = read_segment(path, start, end)
        return audio if speed == 1 else soxr.resample(audio, SAMPLE_RATE * speed, SAMPLE_RATE, quality="MQ")

    def _speaker(self, place: int) -> int:
        """Id at a place in the endless sequence of shuffled rounds of all speakers."""
        epoch, position = divmod(place, self.speakers)
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            self._round = np.random.default_rng([self.seed, _ORDER, epoch]).permutation(self.speakers)
        return int(self._round[position])


def _utterances_by_speaker(
    manifest: str | os.PathLike[str], sessions: int | None
) -> list[list[tuple[str, float, float]]]:
    """(audio, start, end) of each speaker's utterances, sessions and speakers sorted by name."""
    voices: dict[tuple[str, str], list[tuple[str, float, float]]] = {}
    for row in pq.read_table(manifest, columns=["session_id", "speaker", "audio", "start", "end"]).to_pylist():
        if row["end"] - row["start"] >= _SHORTEST_S:
            voices.setdefault((row["session_id"], row["speaker"]), []).append((row["audio"], row["start"], row["end"]))
    names = sorted({session for session, _ in voices})
    if sessions is not None and sessions < len(names):
        chosen = {names[at * len(names) // sessions] for at in range(sessions)}
        voices = {name: utterances for name, utterances in voices.items() if name[0] in chosen}
    if len(voices) < 2:
        raise UserError(
            f"{manifest}: {len(voices)} speaker(s) with utterances of {_SHORTEST_S} s or more; a speaker embedding "
            "needs two or more to tell apart."
        )
    return [voices[name] for name in sorted(voices)]
