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

# 3D-Speaker's recipe: of each row this share of the entries is kept, and at least so many (the diagonal among them).
KEPT_SHARE, KEPT_LEAST = 0.012, 6
_BLOCK = 1024  # rows of cosines held at a time: 80 MB in a session of two hours
_DENSE = 1000  # rows up to which all eigenvalues are computed


def affinity_graph(vectors: Floats, most_parts: int) -> csr_array:
    """(N, N) mean of the pruned cosines of (N, dim) unit vectors and of their transpose, without the diagonal.

    Where a recording repeats itself many times, each window's nearest are its own copies, and the graph falls apart
    into more than `most_parts`: windows with their copies, not speakers. Then as many entries are kept as if copies
    were counted once.
    """
    count = len(vectors)
    graph = _pruned(vectors, _kept(count))
    parts, part_of = connected_components(graph, directed=False)
    if parts <= most_parts:
        return graph
    copies = int(np.median(np.bincount(part_of)))
    return _pruned(vectors, min(count, copies * _kept(count // copies)))


def _kept(count: int) -> int:
    return min(count, max(math.ceil(KEPT_SHARE * count), KEPT_LEAST))


def _pruned(vectors: Floats, kept: int) -> csr_array:
    """The graph with `kept` entries of each row; cosines are computed block by block, for memory to grow with N."""
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


def smallest_eigenpairs(graph: csr_array, expected: int) -> tuple[Floats, Floats]:
    """The `wanted` smallest eigenvalues of the graph's Laplacian, ascending, and (N, wanted) eigenvectors.

    Each connected part is solved by itself: an iterative solver may miss some of several equal eigenvalues, and the
    zeros of parts that do not touch are equal.
    """
    parts, part_of = connected_components(graph, directed=False)
    values: list[float] = []
    vectors: list[Floats] = []
    for part in range(parts):
        rows = np.flatnonzero(part_of == part)
        part_values, part_vectors = _eigenpairs(graph[rows][:, rows], min(expected, len(rows)))
        for number, value in enumerate(part_values):
            vector = np.zeros(graph.shape[0])
            vector[rows] = part_vectors[:, number]
            values.append(value)
            vectors.append(vector)
    order = np.argsort(values, kind="stable")[:expected]
    return np.array(values)[order], np.stack([vectors[number] for number in order], axis=1)


def _eigenpairs(graph: csr_array, expected: int) -> tuple[Floats, Floats]:
    degrees = np.asarray(abs(graph).sum(axis=1)).ravel()
    laplacian = diags_array(degrees) - graph
    count = graph.shape[0]
    if count <= _DENSE:
        return scipy.linalg.eigh(laplacian.toarray(), subset_by_index=(0, expected - 1))
    # The largest of (bound - L) converge without factorising L; Gershgorin's bound is twice the largest degree.
    bound = 2 * degrees.max()
    start = np.random.default_rng(0).standard_normal(count)
    flipped, vectors = eigsh(
        csr_array(bound * diags_array(np.ones(count)) - laplacian),
        k=expected,
        which="LA",
        v0=start,
        ncv=6 * expected,
        tol=1e-6,
    )
    order = np.argsort(-flipped)
    return bound - flipped[order], vectors[:, order]
