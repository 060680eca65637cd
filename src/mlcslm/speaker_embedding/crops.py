"""Training data for speaker embeddings: crops of utterances, at several speeds, with noise."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from mlcslm.corpus.audio import SAMPLE_RATE, Audio, read_segment
from mlcslm.corpus.augmentation import Augmenter, at_speed
from mlcslm.errors import UserError
from mlcslm.speaker_embedding.embedding import normalise
from mlcslm.speaker_embedding.fbank import FbankSettings, fbank
from mlcslm.speaker_embedding.voices import Voices

# Random streams: the order of speakers in an epoch, and the crops.
_ORDER, _CROP = 0, 1
_MAX_FAULTY = 20


class SpeakerCrops(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Batches by optimiser step, a pure function of (seed, step): fbank (B, T, 80) and speaker ids (B,).

    `speeds` other than 1 change tempo and pitch together, and each adds as many new speakers: id = index of the speed
    x voices + voice, where speed 1 has index 0. Every speaker comes once before any comes again. A crop of `crop_s`
    seconds is taken from one utterance, repeated if shorter, and augmented. skip_faulty: draw another utterance if one
    cannot be read, instead of raising UserError; 20 unreadable ones in a row still raise it.
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
        self._skipped: set[str] = set()

    @property
    def speakers(self) -> int:
        """Number of speakers to tell apart, including those of other speeds."""
        return len(self.voices) * len(self.speeds)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not 0 <= step < self.steps:
            raise IndexError(step)
        speakers = [self._speaker(step * self.batch_size + slot) for slot in range(self.batch_size)]
        features = [
            normalise(fbank(self.crop(speaker, step, slot), self.settings)) for slot, speaker in enumerate(speakers)
        ]
        return torch.from_numpy(np.stack(features)), torch.tensor(speakers)

    def crop(self, speaker: int, step: int, slot: int) -> Audio:
        """Crop (samples,) of a speaker id, as drawn for a slot of a step's batch."""
        rng = np.random.default_rng([self.seed, _CROP, step, slot])
        number, voice = divmod(speaker, len(self.voices))
        audio, length = self._speech(voice, self.speeds[number], rng), self.samples
        if len(audio) < length:
            audio = np.resize(audio, length)
        first = int(rng.integers(len(audio) - length + 1))
        audio = audio[first : first + length]
        return audio if self.augmenter is None else self.augmenter(audio, rng)

    def _speech(self, voice: int, speed: float, rng: np.random.Generator) -> Audio:
        """About as much of one utterance as a crop needs at this speed."""
        seconds = (self.samples / SAMPLE_RATE) * speed
        for fault in range(_MAX_FAULTY):
            try:
                audio = self._read(voice, seconds, rng)
                break
            except UserError as error:
                if not self.skip_faulty or fault == _MAX_FAULTY - 1:
                    raise
                if str(error) not in self._skipped:  # a speaker is drawn more than once
                    self._skipped.add(str(error))
                    print(f"mlcslm: skipped: {error}", file=sys.stderr)
        return at_speed(audio, speed)

    def _read(self, voice: int, seconds: float, rng: np.random.Generator) -> Audio:
        path, start, end = self.voices.segment(voice, seconds, rng)
        audio = read_segment(path, start, end)
        if not len(audio):
            raise UserError(f"{path}: contains no audio (0 samples). Copy the file again, or remove it.")
        return audio

    def _speaker(self, index: int) -> int:
        """Id at an index of the endless sequence of shuffled rounds of all speakers."""
        epoch, position = divmod(index, self.speakers)
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            self._round = np.random.default_rng([self.seed, _ORDER, epoch]).permutation(self.speakers)
        return int(self._round[position])
