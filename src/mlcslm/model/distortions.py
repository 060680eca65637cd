"""What training does to an utterance before the encoder hears it, beside noise: another speed, and SpecAugment's masks.

Each is a pure function of the seed, the pass (or the number of the cached copy) and the utterance.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
import torch

from mlcslm.config.schema import AugmentationConfig
from mlcslm.corpus.audio import Audio
from mlcslm.corpus.augmentation import Augmenter, at_speed
from mlcslm.model.projector import HOP_LENGTH

# Keep these random streams apart from those that add noise, drop context and move boundaries.
_SPEED_STREAM, _MASK_STREAM = 4, 5


def augmentation_rng(seed: int, number: int, utterance_id: str, *stream: int) -> np.random.Generator:
    """Random stream of one utterance in pass (or cached variant) `number`, independent of call order."""
    return np.random.default_rng([seed, number, zlib.crc32(utterance_id.encode()), *stream])


@dataclass(frozen=True)
class Masks:
    """SpecAugment without time warping (Park et al., 2019, arXiv:1904.08779), on log-mel features.

    Each mask's width is drawn uniformly from 0 to its maximum, then its place. time: number of masks of at most
    `frames` frames and at most `share` of the utterance's; bands: number of masks of at most `mels` bins. Masked values
    become the mean of the utterance's.
    """

    time: int = 0
    frames: int = 50
    share: float = 0.2
    bands: int = 0
    mels: int = 15

    def __call__(self, log_mel: torch.Tensor, spoken: int, rng: np.random.Generator) -> torch.Tensor:
        """Masked copy of the features (M, F) of an utterance whose audio is in the first `spoken` frames."""
        if not self.time and not self.bands:
            return log_mel
        mean = log_mel[:, :spoken].mean()
        masked = log_mel.clone()
        for _ in range(self.time):
            start, end = _stretch(spoken, min(self.frames, int(self.share * spoken)), rng)
            masked[:, start:end] = mean
        for _ in range(self.bands):
            start, end = _stretch(len(log_mel), self.mels, rng)
            masked[start:end, :spoken] = mean
        return masked


@dataclass(frozen=True)
class Distortions:
    """All that is done to training audio: speed first, then noise or reverberation, then masks.

    speeds: to draw from; empty: as recorded.
    """

    augmenter: Augmenter | None = None
    speeds: tuple[float, ...] = ()
    masks: Masks = field(default_factory=Masks)

    def audio(self, samples: Audio, seed: int, number: int, utterance_id: str, *, longest: int) -> Audio:
        """(samples,) at another speed, with noise. What would become longer than `longest` samples keeps its speed."""
        if self.speeds:
            rng = augmentation_rng(seed, number, utterance_id, _SPEED_STREAM)
            speed = self.speeds[rng.integers(len(self.speeds))]
            if len(samples) / speed <= longest:
                samples = at_speed(samples, speed)
        if self.augmenter is not None:
            samples = self.augmenter(samples, augmentation_rng(seed, number, utterance_id))
        return samples

    def log_mel(self, log_mel: torch.Tensor, samples: int, seed: int, number: int, utterance_id: str) -> torch.Tensor:
        """Masked log-mel features (M, F) of audio of that many samples; without masks the tensor itself."""
        spoken = min(log_mel.shape[1], -(-samples // HOP_LENGTH))
        return self.masks(log_mel, spoken, augmentation_rng(seed, number, utterance_id, _MASK_STREAM))


def make_distortions(config: AugmentationConfig, augmenter: Augmenter | None) -> Distortions:
    """The distortions of a run."""
    masks = Masks(
        time=config.time_masks,
        frames=config.time_mask_frames,
        share=config.time_mask_share,
        bands=config.frequency_masks,
        mels=config.frequency_mask_mels,
    )
    return Distortions(augmenter, config.speeds, masks)


def _stretch(length: int, widest: int, rng: np.random.Generator) -> tuple[int, int]:
    """First and last index + 1 of a stretch of up to `widest` of `length` positions."""
    width = int(rng.integers(min(widest, length) + 1))
    start = int(rng.integers(length - width + 1))
    return start, start + width
