"""A random stream per utterance: its batch, and which other utterances are done, change nothing.

Sampling uses Gumbel noise: after adding independent Gumbel noise to scores, the largest is a multinomial sample
(Gumbel-max trick), and the n largest are n samples without replacement (Gumbel-top-k; Kool et al., 2019,
arXiv:1903.06059), distributed as those of `torch.multinomial`.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch


class UtteranceStreams:
    """Gumbel noise from one stream per (seed, utterance); a seed may be several numbers.

    Streams on a GPU differ from those on a CPU: noise for 150,000 tokens per beam is drawn where it is used.
    """

    def __init__(
        self, utterance_ids: Sequence[str], seed: int | Sequence[int], device: torch.device | str = "cpu"
    ) -> None:
        self._device = torch.device(device)
        words = [seed] if isinstance(seed, int) else [*seed]
        seeds = [[*words, zlib.crc32(name.encode())] for name in utterance_ids]
        self._streams: list[np.random.Generator | torch.Generator]
        if self._device.type == "cpu":
            self._streams = [np.random.default_rng(words) for words in seeds]
        else:
            numbers = [int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0]) >> 1 for words in seeds]
            self._streams = [torch.Generator(self._device).manual_seed(number) for number in numbers]

    def gumbel(self, size: int) -> torch.Tensor:
        """The next `size` values of each utterance's stream, (B, size) in float32."""
        noise = torch.empty(len(self._streams), size, device=self._device)
        drawn = np.empty(size if self._device.type == "cpu" else 0)  # one buffer for all streams
        for row, stream in zip(noise, self._streams, strict=True):
            if isinstance(stream, torch.Generator):
                row.exponential_(generator=stream)
            else:  # in float64: NumPy's float32 is exactly 0, which is infinite noise, once in ten million draws
                row.copy_(torch.from_numpy(stream.standard_exponential(out=drawn))).log_().neg_()  # while it is cached
        return noise if self._device.type == "cpu" else noise.log_().neg_()

    def keep(self, utterances: Sequence[int]) -> None:
        """Drop all but these utterances, given by index."""
        self._streams = [self._streams[index] for index in utterances]
