"""Speakers of a session from the embeddings of its windows: spectral clustering after 3D-Speaker's recipe, seeded.

Source: 3D-Speaker, egs/3dspeaker/speaker-diarization, arXiv:2403.19971; the spectral part after Ning et al. 2006.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import KMeans

from mlcslm.diarization.laplacian import affinity_graph, smallest_eigenpairs

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

FEW_WINDOWS = 40  # fewer are clustered agglomeratively
MOST_SPEAKERS = 15
SMALL_CLUSTER = 4  # windows: as few are no speaker of their own
SAME_SPEAKER = 0.8  # cosine of two centres from which on they are one speaker
_BLOCK = 1024  # windows compared with all others at a time
FEW_WINDOWS_COSINE = 0.4  # mean cosine of two clusters below which the agglomerative clustering stops


def cluster(
    embeddings: npt.ArrayLike, *, num_speakers: int | None = None, seed: int = 0, distinct: int | None = None
) -> Labels:
    """Speaker of each of N windows from their (N, dim) embeddings: (N,) numbers from 0 in order of first appearance.

    num_speakers: exactly so many, as far as there are windows; None: as many as are found. distinct: so many windows at
    the beginning, of which the others are copies; speakers are found in these, and copies are theirs. Equal input and
    seed give equal speakers. Raises ValueError where an embedding is not finite.
    """
    vectors = _normalised(np.asarray(embeddings, dtype=np.float64))
    if distinct is not None and 0 < distinct < len(vectors):
        labels = cluster(vectors[:distinct], num_speakers=num_speakers, seed=seed)
        return np.concatenate([labels, labels[_nearest(vectors[distinct:], vectors[:distinct])]])
    count = len(vectors)
    if count <= 1 or num_speakers == 1:
        return np.zeros(count, dtype=np.int64)
    if num_speakers is not None:
        few = count < FEW_WINDOWS
        labels = _agglomerative(vectors, num_speakers) if few else _spectral(vectors, num_speakers, seed)
        return _by_appearance(labels)
    labels = _agglomerative(vectors, None) if count < FEW_WINDOWS else _spectral(vectors, None, seed)
    return _by_appearance(_without_twins(_without_small_clusters(labels, vectors), vectors))


def _normalised(vectors: Floats) -> Floats:
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError(f"embeddings of shape {vectors.shape}: expected (windows, dimensions), all finite")
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)


def _nearest(vectors: Floats, others: Floats) -> Labels:
    """Of each of (N, dim) unit vectors the place of the nearest of `others`."""
    starts = range(0, len(vectors), _BLOCK)
    return np.concatenate([(vectors[start : start + _BLOCK] @ others.T).argmax(axis=1) for start in starts])


def _spectral(vectors: Floats, num_speakers: int | None, seed: int) -> Labels:
    """k-means of the eigenvectors of the smallest eigenvalues; as many as come before the largest gap."""
    most = min(MOST_SPEAKERS, len(vectors) - 1)
    values, eigenvectors = smallest_eigenpairs(affinity_graph(vectors, MOST_SPEAKERS), max(most, num_speakers or 0) + 1)
    speakers = min(num_speakers or int(np.argmax(np.diff(values[: most + 1]))) + 1, len(vectors))
    if speakers == 1:
        return np.zeros(len(vectors), dtype=np.int64)
    means = KMeans(speakers, n_init=10, random_state=seed).fit(eigenvectors[:, :speakers])
    return means.labels_.astype(np.int64)


def _agglomerative(vectors: Floats, num_speakers: int | None) -> Labels:
    """Average linkage of cosines, down to `num_speakers` or to clusters that are not alike."""
    cosines = vectors @ vectors.T
    tree = linkage(np.maximum(1 - cosines[np.triu_indices(len(vectors), 1)], 0), method="average")
    if num_speakers is None:
        return fcluster(tree, 1 - FEW_WINDOWS_COSINE, criterion="distance").astype(np.int64)
    # fcluster's maxclust gives fewer clusters where distances are equal.
    labels = np.arange(len(vectors))
    members = {number: [number] for number in range(len(vectors))}
    for step, (first, second, _, _) in enumerate(tree[: max(0, len(vectors) - num_speakers)]):
        members[len(vectors) + step] = members.pop(int(first)) + members.pop(int(second))
    for label, windows in enumerate(members.values()):
        labels[windows] = label
    return labels


def _without_small_clusters(labels: Labels, vectors: Floats) -> Labels:
    """Clusters of few windows go, window by window, to the nearest centre of the others; without others all are one."""
    names, sizes = np.unique(labels, return_counts=True)
    large = names[sizes > SMALL_CLUSTER]
    if not len(large):
        return np.zeros_like(labels)
    nearest = large[np.argmax(vectors @ _centres(labels, vectors, large).T, axis=1)]
    return np.where(np.isin(labels, large), labels, nearest)


def _without_twins(labels: Labels, vectors: Floats) -> Labels:
    """The two clusters whose centres are nearest become one, as long as these are near enough."""
    labels = labels.copy()
    while len(names := np.unique(labels)) > 1:
        centres = _centres(labels, vectors, names)
        cosines = np.triu(centres @ centres.T, 1)
        first, second = np.unravel_index(np.argmax(cosines), cosines.shape)
        if cosines[first, second] < SAME_SPEAKER:
            break
        labels[labels == names[second]] = names[first]
    return labels


def _centres(labels: Labels, vectors: Floats, names: npt.NDArray[np.int64]) -> Floats:
    return _normalised(np.stack([vectors[labels == name].mean(axis=0) for name in names]))


def _by_appearance(labels: Labels) -> Labels:
    names, first = np.unique(labels, return_index=True)
    order = names[np.argsort(first)]
    return np.array([{name: number for number, name in enumerate(order)}[label] for label in labels], dtype=np.int64)
