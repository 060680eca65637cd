"""A session's speakers from its window embeddings: seeded spectral clustering, following 3D-Speaker's recipe.

Source: 3D-Speaker, egs/3dspeaker/speaker-diarization, arXiv:2403.19971; the spectral part follows Ning et al. 2006.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlcslm.diarization.laplacian import affinity_graph, smallest_eigenpairs

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

FEW_WINDOWS = 80  # one minute: fewer are clustered agglomeratively (3D-Speaker: 40)
MAX_SPEAKERS = 15
MIN_CLUSTER = 4  # windows, 3 s of speech: as few as these may be a speaker, fewer are not
SAME_SPEAKER = 0.8  # cosine of two centres from which on they are one speaker
FEW_WINDOWS_COSINE = 0.4  # mean cosine of two clusters below which the agglomerative clustering stops
SPLIT_GAP = 0.16
"""A cluster of few windows is two speakers if windows of one half are on average this much more alike (cosine) than
windows of different halves. Unlike a threshold on cosines it does not depend on the channel: in telephone speech
different voices have 0.41 on average, in meetings one voice has 0.38. (docs/diarization.md)"""
_TRIES = 5  # numbers of clusters tried until enough of them are large enough
_BLOCK = 1024  # windows compared with all others at a time


def cluster(
    embeddings: npt.ArrayLike,
    *,
    num_speakers: int | None = None,
    min_speakers: int | None = None,
    max_speakers: int | None = None,
    seed: int = 0,
    distinct: int | None = None,
    clear: npt.NDArray[np.bool_] | None = None,
) -> Labels:
    """Speaker of each of N windows from their (N, dim) embeddings: (N,) numbers from 0 in order of first appearance.

    Windows are clustered freely first. Of more than `max_speakers` clusters the largest are kept and each other window
    goes to the nearest of these: a few windows of somebody else do not take a speaker's place. Fewer than
    `min_speakers` are divided further, as far as each has `MIN_CLUSTER` windows and, in short recordings, differs
    from the others (`SPLIT_GAP`): a speaker who hardly speaks is not invented. num_speakers: both bounds at once.
    distinct: so many windows at the beginning, of which the others are copies; speakers are found in these, and copies
    are theirs. clear: (N,) which windows are likely to hear one voice; in short recordings these alone tell whether a
    cluster is two speakers, None for all. Equal input and seed give equal speakers. Raises ValueError where an
    embedding is not finite.
    """
    fewest, most = num_speakers or min_speakers or 1, num_speakers or max_speakers or MAX_SPEAKERS
    vectors = normalised(np.asarray(embeddings, dtype=np.float64))
    if distinct is not None and 0 < distinct < len(vectors):
        clear = None if clear is None else clear[:distinct]
        labels = cluster(vectors[:distinct], min_speakers=fewest, max_speakers=most, seed=seed, clear=clear)
        return np.concatenate([labels, labels[_nearest(vectors[distinct:], vectors[:distinct])]])
    if len(vectors) <= 1 or most == 1:
        return np.zeros(len(vectors), dtype=np.int64)
    if len(vectors) < FEW_WINDOWS:
        labels = _without_twins(_without_small_clusters(_agglomerative(vectors), vectors), vectors)
        labels = _divided(labels, vectors, max(fewest, 2), np.ones(len(vectors), bool) if clear is None else clear)
    else:
        labels = _without_twins(_without_small_clusters(_spectral(vectors, None, seed), vectors), vectors)
        for count in range(fewest, min(fewest + _TRIES, len(vectors))):
            if len(np.unique(labels)) >= fewest:
                break
            labels = _without_small_clusters(_spectral(vectors, count, seed), vectors)
    return _by_appearance(_largest(labels, vectors, most))


def normalised(vectors: Floats) -> Floats:
    """The (N, dim) vectors with length 1. Raises ValueError for other shapes and values that are not finite."""
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
    from sklearn.cluster import KMeans  # a second to import, for long recordings of several speakers only

    means = KMeans(speakers, n_init=10, random_state=seed).fit(eigenvectors[:, :speakers])
    return means.labels_.astype(np.int64)


def _agglomerative(vectors: Floats) -> Labels:
    """Average linkage of cosines, down to clusters that are not alike."""
    from scipy.cluster.hierarchy import fcluster

    return fcluster(_tree(vectors), 1 - FEW_WINDOWS_COSINE, criterion="distance").astype(np.int64)


def _tree(vectors: Floats) -> Floats:
    from scipy.cluster.hierarchy import linkage  # half a second to import, for short recordings only

    cosines = vectors @ vectors.T
    return linkage(np.maximum(1 - cosines[np.triu_indices(len(vectors), 1)], 0), method="average")


def _divided(labels: Labels, vectors: Floats, expected: int, clear: npt.NDArray[np.bool_]) -> Labels:
    """Up to `expected` clusters: again and again the one whose halves differ most in two, while they differ enough."""
    while len(np.unique(labels)) < expected:
        clusters = [np.flatnonzero(labels == name) for name in np.unique(labels)]
        splits = [split for members in clusters if (split := _halves(members, vectors, clear[members]))]
        if not splits:
            break
        gap, half = max(splits, key=lambda split: split[0])
        if gap < SPLIT_GAP:
            break
        labels = labels.copy()
        labels[half] = labels.max() + 1
    return labels


def _halves(members: Labels, vectors: Floats, clear: npt.NDArray[np.bool_]) -> tuple[float, Labels] | None:
    """Of a cluster's windows those that become another's, and how much the two differ; None where it has too few.

    The halves are the two largest clusters of the coarsest partition of the `clear` windows in which two are large
    enough; the others' windows go to the nearer one, and do not count in how much the two differ. Nor do neighbours:
    they overlap, so are alike.
    """
    if clear.sum() < 2 * MIN_CLUSTER:
        clear = np.ones(len(members), bool)
    if len(members) < 2 * MIN_CLUSTER:
        return None
    own, places = vectors[members[clear]], members[clear]
    tree = _tree(own)
    for count in range(2, len(own)):
        labels = _cut(tree, count)
        if np.sort(np.bincount(labels))[-2] >= MIN_CLUSTER:
            break
    else:
        return None
    names, sizes = np.unique(labels, return_counts=True)
    first, second = names[np.argsort(-sizes, kind="stable")[:2]]
    core = np.isin(labels, (first, second))
    apart = core[:, None] & core & (np.abs(places[:, None] - places) > 1)
    same = labels[:, None] == labels
    if not (apart & same).any() or not (apart & ~same).any():
        return None
    cosines = own @ own.T
    gap = float(cosines[apart & same].mean() - cosines[apart & ~same].mean())
    halves = np.full(len(members), -1)
    halves[clear] = labels
    return gap, members[_largest(halves, vectors[members], 2) == second]


def _cut(tree: Floats, count: int) -> Labels:
    """The tree's leaves in exactly `count` clusters; fcluster gives fewer where distances are equal."""
    leaves = len(tree) + 1
    members = {number: [number] for number in range(leaves)}
    for step, (first, second, _, _) in enumerate(tree[: leaves - count]):
        members[leaves + step] = members.pop(int(first)) + members.pop(int(second))
    labels = np.zeros(leaves, dtype=np.int64)
    for label, windows in enumerate(members.values()):
        labels[windows] = label
    return labels


def _without_small_clusters(labels: Labels, vectors: Floats) -> Labels:
    """Move windows of small clusters to the nearest large cluster; if there is none, all are one cluster."""
    names, sizes = np.unique(labels, return_counts=True)
    large = names[sizes >= MIN_CLUSTER]
    return _only(large, labels, vectors) if len(large) else np.zeros_like(labels)


def _largest(labels: Labels, vectors: Floats, most: int) -> Labels:
    """The `most` largest clusters, to which the other windows go; windows of label -1 are of none."""
    names, sizes = np.unique(labels[labels >= 0], return_counts=True)
    return _only(names[np.argsort(-sizes, kind="stable")[:most]], labels, vectors)


def _only(kept: Labels, labels: Labels, vectors: Floats) -> Labels:
    nearest = kept[np.argmax(vectors @ centres(labels, vectors, kept).T, axis=1)]
    return np.where(np.isin(labels, kept), labels, nearest)


def _without_twins(labels: Labels, vectors: Floats) -> Labels:
    """Merge the two clusters with the nearest centres, as long as these are near enough."""
    labels = labels.copy()
    while len(names := np.unique(labels)) > 1:
        means = centres(labels, vectors, names)
        cosines = np.triu(means @ means.T, 1)
        first, second = np.unravel_index(np.argmax(cosines), cosines.shape)
        if cosines[first, second] < SAME_SPEAKER:
            break
        labels[labels == names[second]] = names[first]
    return labels


def centres(labels: Labels, vectors: Floats, names: npt.NDArray[np.int64]) -> Floats:
    """(len(names), dim) unit vectors: the means of the clusters called `names`."""
    return normalised(np.stack([vectors[labels == name].mean(axis=0) for name in names]))


def _by_appearance(labels: Labels) -> Labels:
    names, first = np.unique(labels, return_index=True)
    order = names[np.argsort(first)]
    return np.array([{name: number for number, name in enumerate(order)}[label] for label in labels], dtype=np.int64)
