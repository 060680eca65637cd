"""The sparse affinity graph of embeddings, and the smallest eigenvalues of its unnormalised Laplacian."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.linalg
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh

Floats = npt.NDArray[np.float64]

# 3D-Speaker's recipe: keep this share of each row's entries, and at least this many (including the diagonal).
KEPT_SHARE, KEPT_LEAST = 0.012, 6
_BLOCK = 1024  # rows of cosines in memory at once: 80 MB for a session of two hours
_DENSE = 1000  # rows up to which all eigenvalues are computed


def affinity_graph(vectors: Floats, max_parts: int) -> csr_array:
    """(N, N) pruned cosines of (N, dim) unit vectors, averaged with their transpose, without the diagonal.

    If a recording repeats itself many times, each window's nearest neighbours are its own copies, and the graph falls
    apart into more than `max_parts` components: windows with their copies, not speakers. Then as many entries are kept
    as if copies counted once.
    """
    count = len(vectors)
    graph = _pruned(vectors, _kept(count))
    parts, part_of = connected_components(graph, directed=False)
    if parts <= max_parts:
        return graph
    copies = int(np.median(np.bincount(part_of)))
    return _pruned(vectors, min(count, copies * _kept(count // copies)))


def _kept(count: int) -> int:
    return min(count, max(math.ceil(KEPT_SHARE * count), KEPT_LEAST))


def _pruned(vectors: Floats, kept: int) -> csr_array:
    """The graph with `kept` entries per row; cosines are computed in blocks, so that memory grows linearly with N."""
    count = len(vectors)
    columns, cosines = [], []
    for start in range(0, count, _BLOCK):
        block = vectors[start : start + _BLOCK] @ vectors.T
        best = np.argpartition(-block, kept - 1, axis=1)[:, :kept]
        columns.append(best)
        cosines.append(np.take_along_axis(block, best, axis=1))
    rows = np.repeat(np.arange(count), kept)
    graph = csr_array((np.concatenate(cosines).ravel(), (rows, np.concatenate(columns).ravel())), shape=(count, count))
    graph = csr_array(0.5 * (graph + graph.T))
    graph.setdiag(0)
    graph.eliminate_zeros()
    return graph


def smallest_eigenpairs(graph: csr_array, count: int) -> tuple[Floats, Floats]:
    """The `count` smallest eigenvalues of the graph's Laplacian, ascending, and (N, count) eigenvectors.

    Each connected component is solved separately: an iterative solver may miss some of several equal eigenvalues, and
    every component has the eigenvalue zero.
    """
    parts, part_of = connected_components(graph, directed=False)
    values: list[float] = []
    vectors: list[Floats] = []
    for part in range(parts):
        rows = np.flatnonzero(part_of == part)
        part_values, part_vectors = _eigenpairs(graph[rows][:, rows], min(count, len(rows)))
        for number, value in enumerate(part_values):
            vector = np.zeros(graph.shape[0])
            vector[rows] = part_vectors[:, number]
            values.append(value)
            vectors.append(vector)
    order = np.argsort(values, kind="stable")[:count]
    return np.array(values)[order], np.stack([vectors[number] for number in order], axis=1)


def _eigenpairs(graph: csr_array, count: int) -> tuple[Floats, Floats]:
    degrees = np.asarray(abs(graph).sum(axis=1)).ravel()
    laplacian = diags_array(degrees) - graph
    rows = graph.shape[0]
    if rows <= _DENSE:
        return scipy.linalg.eigh(laplacian.toarray(), subset_by_index=(0, count - 1))
    # The largest of (bound - L) converge without factorising L; Gershgorin's bound is twice the largest degree.
    bound = 2 * degrees.max()
    start = np.random.default_rng(0).standard_normal(rows)
    flipped, vectors = eigsh(
        csr_array(bound * diags_array(np.ones(rows)) - laplacian),
        k=count,
        which="LA",
        v0=start,
        ncv=6 * count,
        tol=1e-6,
    )
    order = np.argsort(-flipped)
    return bound - flipped[order], vectors[:, order]
