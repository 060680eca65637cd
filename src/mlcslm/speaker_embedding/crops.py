"""What speaker embeddings are trained on: stretches of voices, at several speeds, with noise."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import soxr
import torch
from torch.utils.data import Dataset

from mlcslm.corpus.audio import SAMPLE_RATE, Audio, read_segment
from mlcslm.corpus.augmentation import Augmenter
from mlcslm.errors import UserError
from mlcslm.speaker_embedding.embedding import normalise
from mlcslm.speaker_embedding.fbank import FbankSettings, fbank
from mlcslm.speaker_embedding.voices import Voices

# Streams of random numbers: the order of an epoch, and what a stretch is.
_ORDER, _STRETCH = 0, 1
_MOST_FAULTY = 20


class SpeakerCrops(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Batches by optimiser step, a pure function of (seed, step): fbank (B, T, 80) and speaker ids (B,).

    `speeds` other than 1 change tempo and pitch together, and each makes as many new speakers: id = number of the speed
    x voices + voice, speed 1 being number 0. Every speaker comes once before one comes again. A stretch of `crop_s` is
    taken from one utterance, repeated where that is shorter, and augmented. `skip_faulty`: draw another utterance
    where one cannot be read, instead of raising UserError; a speaker of whom 20 in a row cannot be read is refused.
    """

    def __init__(
        self,
        voices: Voices,
        *,
        steps: int,
        batch_size: int,
        crop_s: float,
        speeds: Sequence[float],
        augmenter: Augmenter | None,
        settings: FbankSettings,
        seed: int,
        skip_faulty: bool = False,
    ) -> None:
        self.voices = voices
        self.speeds = (1.0, *(speed for speed in speeds if speed != 1))
        self.steps, self.batch_size, self.seed = steps, batch_size, seed
        self.samples = round(crop_s * SAMPLE_RATE)
        self.augmenter, self.settings, self.skip_faulty = augmenter, settings, skip_faulty

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
        seconds = (self.samples / SAMPLE_RATE) * speed
        for fault in range(_MOST_FAULTY):
            try:
                audio = self._read(voice, seconds, rng)
                break
            except UserError as error:
                if not self.skip_faulty or fault == _MOST_FAULTY - 1:
                    raise
                print(f"left out: {error}", file=sys.stderr)
        return audio if speed == 1 else soxr.resample(audio, SAMPLE_RATE * speed, SAMPLE_RATE, quality="MQ")

    def _read(self, voice: int, seconds: float, rng: np.random.Generator) -> Audio:
        path, start, end = self.voices.stretch(voice, seconds, rng)
        audio = read_segment(path, start, end)
        if not len(audio):
            raise UserError(f"{path}: holds no audio (0 samples). Copy the file again, or remove it.")
        return audio

    def _speaker(self, place: int) -> int:
        """Id at a place in the endless sequence of shuffled rounds of all speakers."""
        epoch, position = divmod(place, self.speakers)
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            self._round = np.random.default_rng([self.seed, _ORDER, epoch]).permutation(self.speakers)
        return int(self._round[position])
