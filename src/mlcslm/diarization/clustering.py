"""A session's speakers from its window embeddings: seeded spectral clustering, following 3D-Speaker's recipe.

Source: 3D-Speaker, egs/3dspeaker/speaker-diarization, arXiv:2403.19971; the spectral part follows Ning et al. 2006.
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
MAX_SPEAKERS = 15
SMALL_CLUSTER = 4  # windows: so few are not a speaker of their own
SAME_SPEAKER = 0.8  # cosine of two centres at or above which they are one speaker
_BLOCK = 1024  # windows compared with all others at once
FEW_WINDOWS_COSINE = 0.4  # agglomerative clustering stops below this mean cosine of two clusters


def cluster(
    embeddings: npt.ArrayLike, *, num_speakers: int | None = None, seed: int = 0, distinct: int | None = None
) -> Labels:
    """Speaker of each of N windows from their (N, dim) embeddings: (N,) numbers from 0 in order of first appearance.

    num_speakers: exact number, unless there are fewer windows; None: as many as are found. distinct: the number of
    leading windows that the others are copies of; these are clustered, and each copy gets its original's speaker. Equal
    input and seed give equal speakers. Raises ValueError if an embedding is not finite.
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
    """For each of (N, dim) unit vectors, the index of the nearest of `others`."""
    starts = range(0, len(vectors), _BLOCK)
    return np.concatenate([(vectors[start : start + _BLOCK] @ others.T).argmax(axis=1) for start in starts])


def _spectral(vectors: Floats, num_speakers: int | None, seed: int) -> Labels:
    """k-means on the eigenvectors of the smallest eigenvalues, those before the largest eigengap."""
    most = min(MAX_SPEAKERS, len(vectors) - 1)
    values, eigenvectors = smallest_eigenpairs(affinity_graph(vectors, MAX_SPEAKERS), max(most, num_speakers or 0) + 1)
    speakers = min(num_speakers or int(np.argmax(np.diff(values[: most + 1]))) + 1, len(vectors))
    if speakers == 1:
        return np.zeros(len(vectors), dtype=np.int64)
    means = KMeans(speakers, n_init=10, random_state=seed).fit(eigenvectors[:, :speakers])
    return means.labels_.astype(np.int64)


def _agglomerative(vectors: Floats, num_speakers: int | None) -> Labels:
    """Average linkage on cosines, down to `num_speakers` or until clusters are too dissimilar."""
    cosines = vectors @ vectors.T
    tree = linkage(np.maximum(1 - cosines[np.triu_indices(len(vectors), 1)], 0), method="average")
    if num_speakers is None:
        return fcluster(tree, 1 - FEW_WINDOWS_COSINE, criterion="distance").astype(np.int64)
    # fcluster's maxclust gives fewer clusters if distances tie.
    labels = np.arange(len(vectors))
    members = {number: [number] for number in range(len(vectors))}
    for step, (first, second, _, _) in enumerate(tree[: max(0, len(vectors) - num_speakers)]):
        members[len(vectors) + step] = members.pop(int(first)) + members.pop(int(second))
    for label, windows in enumerate(members.values()):
        labels[windows] = label
    return labels


def _without_small_clusters(labels: Labels, vectors: Floats) -> Labels:
    """Move windows of small clusters to the nearest large cluster; if there is none, all are one cluster."""
    names, sizes = np.unique(labels, return_counts=True)
    large = names[sizes > SMALL_CLUSTER]
    if not len(large):
        return np.zeros_like(labels)
    nearest = large[np.argmax(vectors @ _centres(labels, vectors, large).T, axis=1)]
    return np.where(np.isin(labels, large), labels, nearest)


def _without_twins(labels: Labels, vectors: Floats) -> Labels:
    """Merge the two clusters with the nearest centres, as long as these are near enough."""
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
