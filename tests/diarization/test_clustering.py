"""Clustering: voices that lie apart, the recipe's special cases, and the sparse solver against the dense one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.pairwise import cosine_similarity

from mlcslm.diarization import laplacian
from mlcslm.diarization.clustering import cluster
from mlcslm.diarization.laplacian import affinity_graph, smallest_eigenpairs


def voices(counts: list[int], *, noise: float = 1.0, dim: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of so many windows of each voice, shuffled, and whose they are."""
    rng = np.random.default_rng(seed)
    whose = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return rng.normal(size=(len(counts), dim))[whose] + noise * rng.normal(size=(len(whose), dim)), whose


@pytest.mark.parametrize("counts", [[20, 12], [60], [50, 70], [300, 200, 100], [700, 800]])
def test_voices_are_found_and_told_apart(counts: list[int]) -> None:
    embeddings, whose = voices(counts)
    labels = cluster(embeddings)
    assert labels.max() + 1 == len(counts)
    assert adjusted_rand_score(whose, labels) == 1.0


def test_speakers_are_numbered_as_they_appear() -> None:
    labels = cluster(voices([30, 30, 30], seed=5)[0])
    assert list(dict.fromkeys(labels.tolist())) == [0, 1, 2]


@pytest.mark.parametrize("bounds", [{"num_speakers": 3}, {"min_speakers": 3}, {"min_speakers": 3, "max_speakers": 4}])
@pytest.mark.parametrize("counts", [[12, 14, 13], [60, 40, 80]])
def test_so_many_speakers_as_asked_for(counts: list[int], bounds: dict[str, int]) -> None:
    # Voices so alike that fewer are found without knowing their number.
    rng = np.random.default_rng(0)
    whose = rng.permutation(np.repeat(np.arange(3), counts))
    embeddings = np.eye(64)[3] + np.eye(64)[:3][whose] + 0.1 * rng.normal(size=(len(whose), 64))
    assert adjusted_rand_score(whose, cluster(embeddings, **bounds)) == 1.0


@pytest.mark.parametrize("counts", [[25, 20, 6], [60, 50, 9, 7]])
@pytest.mark.parametrize("bound", ["num_speakers", "max_speakers"])
def test_other_voices_do_not_take_the_place_of_a_known_speaker(counts: list[int], bound: str) -> None:
    embeddings, whose = voices(counts, noise=0.5)
    labels = cluster(embeddings, **{bound: 2})
    assert set(labels.tolist()) == {0, 1}
    known = whose < 2
    assert adjusted_rand_score(whose[known], labels[known]) == 1.0


def test_an_outlier_is_no_second_speaker() -> None:
    # Agglomerative clustering down to two clusters would give one window of its own, and one of all others.
    embeddings, whose = voices([13, 12], noise=0.6)
    rng = np.random.default_rng(1)
    labels = cluster(np.concatenate([embeddings, 3 * rng.normal(size=(1, 64))]), num_speakers=2)
    assert adjusted_rand_score(whose, labels[:-1]) == 1.0


@pytest.mark.parametrize("similarity", [0.3, 0.7])
def test_short_recordings_keep_two_speakers_however_alike_all_voices_of_their_channel_are(similarity: float) -> None:
    # All voices share a direction, as those of one telephone line do: their mean cosine is above any fixed threshold.
    rng = np.random.default_rng(0)
    whose = np.repeat([0, 1, 0, 1], 6)
    own = np.eye(64)[1:3][whose] + 0.1 * rng.normal(size=(24, 64))
    embeddings = np.sqrt(similarity) * np.eye(64)[0] + np.sqrt(1 - similarity) * own
    assert adjusted_rand_score(whose, cluster(embeddings)) == 1.0
    assert adjusted_rand_score(whose, cluster(embeddings, num_speakers=2)) == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_windows_that_hear_two_voices_do_not_make_them_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clear = np.arange(40) % 2 == 0  # every other window hears both
    whose = np.where(clear, np.arange(40) // 8 % 2, 0.5)
    channel, voices = rng.normal(size=64), np.stack([1 - whose, whose], axis=1) @ rng.normal(size=(2, 64))
    embeddings = channel / 8 + 0.6 * voices / 8 + 0.06 * rng.normal(size=(40, 64))
    assert cluster(embeddings).max() == 0
    labels = cluster(embeddings, clear=clear)
    assert adjusted_rand_score(whose[clear], labels[clear]) == 1.0
    assert labels.max() == 1


@pytest.mark.parametrize(("windows", "speakers"), [(30, 3), (3, 5), (1, 2)])
def test_one_short_voice_is_not_divided_to_reach_a_number(windows: int, speakers: int) -> None:
    embeddings, _ = voices([windows], noise=0.7)
    assert set(cluster(embeddings, num_speakers=speakers).tolist()) == {0}


@pytest.mark.parametrize("most", [1, 2, 3])
def test_the_most_speakers_are_a_bound(most: int) -> None:
    for counts in ([15, 14, 13, 12], [50, 60, 70, 80]):
        assert len(set(cluster(voices(counts)[0], max_speakers=most).tolist())) == most


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_cluster(count: int) -> None:
    assert cluster(np.ones((count, 8))).tolist() == [0] * count


def test_few_windows_of_another_voice_go_to_the_nearest() -> None:
    embeddings, _ = voices([25, 3], noise=0.3)
    assert set(cluster(embeddings).tolist()) == {0}
    assert set(cluster(embeddings, num_speakers=2).tolist()) == {0}


def test_near_centres_are_one_speaker() -> None:
    # Two clusters at a cosine of 0.9: less than 15 windows apart each, and alike.
    rng = np.random.default_rng(0)
    first, other = np.eye(64)[0], np.eye(64)[1]
    second = 0.9 * first + np.sqrt(1 - 0.81) * other
    embeddings = np.concatenate([np.tile(first, (60, 1)), np.tile(second, (60, 1))]) + rng.normal(0, 0.01, (120, 64))
    assert set(cluster(embeddings).tolist()) == {0}
    apart = 0.7 * first + np.sqrt(1 - 0.49) * other
    embeddings[60:] = apart + rng.normal(0, 0.01, (60, 64))
    assert set(cluster(embeddings).tolist()) == {0, 1}


def test_equal_input_and_seed_give_equal_speakers() -> None:
    embeddings, _ = voices([80, 90, 30], noise=3.0)
    assert np.array_equal(cluster(embeddings, seed=4), cluster(embeddings, seed=4))
    # Rounding, as another batch size may bring it, changes nothing.
    shaken = embeddings * (1 + 1e-7 * np.random.default_rng(1).normal(size=embeddings.shape))
    assert np.array_equal(cluster(embeddings, seed=4), cluster(shaken, seed=4))


def test_embeddings_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="all finite"):
        cluster(np.full((5, 3), np.nan))


def dense_laplacian(embeddings: np.ndarray) -> np.ndarray:
    """The recipe written out: prune each row, symmetrise, degrees of absolute values."""
    affinity = cosine_similarity(embeddings)
    count = len(affinity)
    dropped = min(int((1 - 0.012) * count), count - 6)
    for row in affinity:
        row[np.argsort(row)[:dropped]] = 0
    affinity = 0.5 * (affinity + affinity.T)
    np.fill_diagonal(affinity, 0)
    return np.diag(np.abs(affinity).sum(axis=1)) - affinity


@pytest.mark.parametrize("most_dense", [1000, 50])
def test_eigenvalues_are_those_of_the_recipe(most_dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laplacian, "_DENSE", most_dense)
    monkeypatch.setattr(laplacian, "_BLOCK", 77)
    embeddings, _ = voices([200, 150, 250], noise=2.0)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    values, vectors = smallest_eigenpairs(affinity_graph(unit, 15), 16)
    expected = scipy.linalg.eigvalsh(dense_laplacian(embeddings))
    np.testing.assert_allclose(values, expected[:16], atol=1e-4)
    np.testing.assert_allclose(dense_laplacian(embeddings) @ vectors, vectors * values, atol=1e-2)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(16), atol=1e-6)


def test_a_recording_that_repeats_itself_has_no_more_speakers() -> None:
    # More repetitions than a row keeps entries: each window's nearest are its own copies alone.
    embeddings, whose = voices([20, 25])
    rng = np.random.default_rng(0)
    repeated = np.tile(embeddings, (40, 1))
    labels = cluster(repeated + 0.2 * rng.normal(size=repeated.shape))
    assert adjusted_rand_score(np.tile(whose, 40), labels) == 1.0


def test_copies_are_their_originals_speakers() -> None:
    # Clustered all together, three speakers' 12 windows each that come back 300 times are no three speakers.
    embeddings, whose = voices([12, 12, 12])
    copies = np.tile(embeddings, (300, 1)) + 0.3 * np.random.default_rng(0).normal(size=(36 * 300, 64))
    labels = cluster(copies, distinct=36)
    assert np.array_equal(labels[:36], cluster(copies[:36]))
    assert adjusted_rand_score(np.tile(whose, 300), labels) == 1.0
    assert np.array_equal(cluster(embeddings, distinct=36), cluster(embeddings))
