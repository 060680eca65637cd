"""How well embeddings tell voices apart: cosines of pairs of utterances, and their equal error rate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlcslm.corpus.audio import Audio, read_segment
from mlcslm.io.parquet import read_table
from mlcslm.speaker_embedding.embedding import Embeddings, SpeakerEmbedder

Scores = npt.NDArray[np.floating]
TRIAL_SECONDS = 1.5
UTTERANCES = 16


@dataclass(frozen=True)
class Verification:
    """Trials of pairs of utterances, each utterance's middle of at most 1.5 s.

    eer: equal error rate of pairs within a session, as diarization needs; eer_all: of all pairs, where speakers of
    different sessions count as different even if one person spoke in both; same_cosine, different_cosine: means within
    a session; same_pairs, different_pairs: their numbers; speakers: how many.
    """

    eer: float
    eer_all: float
    same_cosine: float
    different_cosine: float
    same_pairs: int
    different_pairs: int
    speakers: int


def equal_error_rate(same: Scores, different: Scores) -> float:
    """Return the rate at which the rejected share of `same` scores equals the accepted share of `different` ones.

    Interpolated where the two rates cross between thresholds. NaN if either has no scores.

    >>> equal_error_rate(np.array([0.9, 0.8, 0.3]), np.array([0.4, 0.2, 0.1]))
    0.3333333333333333
    """
    if not len(same) or not len(different):
        return float("nan")
    thresholds = np.unique(np.concatenate([same, different]))
    # Scores at or above the threshold are accepted; one above all of them accepts nothing.
    rejected = np.append(np.searchsorted(np.sort(same), thresholds, side="left") / len(same), 1.0)
    accepted = np.append(1 - np.searchsorted(np.sort(different), thresholds, side="left") / len(different), 0.0)
    above = int(np.argmax(rejected >= accepted))
    if above == 0 or rejected[above] == accepted[above]:
        return float(max(rejected[above], accepted[above]))
    gap = accepted - rejected
    share = gap[above - 1] / (gap[above - 1] - gap[above])
    return float(rejected[above - 1] + share * (rejected[above] - rejected[above - 1]))


def verify(embeddings: Embeddings, sessions: Sequence[str], speakers: Sequence[str]) -> Verification:
    """Trials of all pairs of `embeddings` (N, dim), given the session and the speaker of each."""
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9)
    cosine = unit @ unit.T
    session = np.unique(np.asarray(sessions), return_inverse=True)[1]
    voice = np.unique([f"{a}\t{b}" for a, b in zip(sessions, speakers, strict=True)], return_inverse=True)[1]
    first, second = np.triu_indices(len(unit), k=1)
    scores = cosine[first, second]
    same = voice[first] == voice[second]
    other = ~same & (session[first] == session[second])
    return Verification(
        eer=equal_error_rate(scores[same], scores[other]),
        eer_all=equal_error_rate(scores[same], scores[~same]),
        same_cosine=float(scores[same].mean()) if same.any() else float("nan"),
        different_cosine=float(scores[other].mean()) if other.any() else float("nan"),
        same_pairs=int(same.sum()),
        different_pairs=int(other.sum()),
        speakers=len(np.unique(voice)),
    )


def verify_manifest(
    embedder: SpeakerEmbedder, manifest: str | os.PathLike[str], *, batch_size: int = 64, utterances: int = UTTERANCES
) -> Verification:
    """Trials of a manifest's speakers, with at most `utterances` of each, spread over the session."""
    rows = read_table(manifest, columns=["session_id", "speaker", "audio", "start", "end"]).to_pylist()
    by_voice: dict[tuple[str, str], list[dict[str, object]]] = {}
    for row in rows:
        by_voice.setdefault((row["session_id"], row["speaker"]), []).append(row)
    chosen = [
        voiced[at]
        for voiced in by_voice.values()
        for at in np.unique(np.linspace(0, len(voiced) - 1, utterances).round().astype(int))
    ]
    embeddings = embedder.embed([_middle(row) for row in chosen], batch_size)
    return verify(embeddings, [row["session_id"] for row in chosen], [row["speaker"] for row in chosen])


def _middle(row: dict[str, object]) -> Audio:
    start, end = float(row["start"]), float(row["end"])  # type: ignore[arg-type]
    spare = max(0.0, end - start - TRIAL_SECONDS) / 2
    return read_segment(str(row["audio"]), start + spare, end - spare)
