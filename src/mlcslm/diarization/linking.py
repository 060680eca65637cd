"""Speakers of a session from those of its stretches, which were told apart in each on its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mlcslm.diarization.clustering import FEW_WINDOWS_COSINE, normalised


def link_speakers(
    voices: npt.ArrayLike,
    stretches: Sequence[int],
    *,
    least: float = FEW_WINDOWS_COSINE,
    fewest: int = 1,
    most: int | None = None,
) -> list[int]:
    """Speaker in the session, from 1 in order of appearance, of each speaker of a stretch.

    voices: (N, dim) embeddings, zero where there is none; stretches: the (N,) stretches that they are of. The two
    most alike are one again and again (average linkage of cosines), never two of one stretch, down to a cosine of
    `least`, but not to fewer speakers than `fewest`; with `most`, down to so many, as far as stretches allow.

    >>> link_speakers([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0], [1.0, 0.1]], [0, 0, 1, 1])
    [1, 2, 2, 1]
    """
    vectors = normalised(np.asarray(voices, np.float64))
    groups = [[number] for number in range(len(vectors))]
    cosines = vectors @ vectors.T
    sums = cosines.copy()
    apart = np.equal.outer(np.asarray(stretches), np.asarray(stretches))
    while len(groups) > max(fewest, 1):
        sizes = np.array([len(group) for group in groups])
        means = np.where(apart, -np.inf, sums / np.outer(sizes, sizes))
        first, second = sorted(int(place) for place in np.unravel_index(means.argmax(), means.shape))
        enough = most is None or len(groups) <= most
        if means[first, second] == -np.inf or (enough and means[first, second] < least):
            break
        groups[first] += groups.pop(second)
        for matrix, join in ((sums, np.add), (apart, np.logical_or)):
            joined = join(matrix[first], matrix[second])
            matrix[first], matrix[:, first] = joined, joined
        sums, apart = (np.delete(np.delete(matrix, second, 0), second, 1) for matrix in (sums, apart))
        apart[first, first] = True
    names = [0] * len(vectors)
    for name, group in enumerate(sorted(groups, key=min), start=1):
        for number in group:
            names[number] = name
    return names
