"""DER of every detector, by part, on real conversations and on a corpus in the challenge's layout.

    python benchmarks/real_conversations.py REAL --embedding models/campplus [--corpus CORPUS] [--segmentation FOLDER]

REAL: a folder of <name>.wav, <name>.rttm and <name>.uem (zones to score). CORPUS: its splits dev and test are read.
Scored as the challenge does: overlapping speech counts, no collar. Numbers of speakers are estimated, then given.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mlcslm.config.languages import read_languages
from mlcslm.corpus.audio import SAMPLE_RATE, read_audio
from mlcslm.corpus.manifest import build_manifest
from mlcslm.diarization.pipeline import Diarizer
from mlcslm.diarization.silero import PACKAGE_SETTINGS, SileroDetector
from mlcslm.diarization.vad import make_detector
from mlcslm.formats.rttm import read_rttm
from mlcslm.formats.segments import Segment
from mlcslm.scoring.der import DerTask, DiarizationErrors, pool_diarization, score_task
from mlcslm.speaker_embedding.embedding import SpeakerEmbedder, load_embedder


@dataclass(frozen=True)
class Recording:
    """A recording with its truth; zones: None to score from its first turn to its last."""

    part: str
    name: str
    audio: Path
    turns: list[Segment]
    zones: list[tuple[float, float]] | None = None

    @property
    def speakers(self) -> int:
        """How many speak."""
        return len({turn.speaker for turn in self.turns})


def real_recordings(folder: Path) -> Iterator[Recording]:
    for path in sorted(folder.glob("*.wav")):
        lines = [line.split() for line in path.with_suffix(".uem").read_text().splitlines()]
        zones = [(float(start), float(end)) for _, _, start, end in lines]
        turns = [turn for found in read_rttm(path.with_suffix(".rttm")).values() for turn in found]
        speakers = len({turn.speaker for turn in turns})
        yield Recording("at most two speakers" if speakers <= 2 else "three and four", path.stem, path, turns, zones)


def corpus_recordings(folder: Path, languages: Path) -> Iterator[Recording]:
    for split in ("dev", "test"):
        table, _ = build_manifest(folder / split, read_languages(languages))
        sessions: dict[str, list[dict]] = {}
        for row in table.to_pylist():
            sessions.setdefault(row["session_id"], []).append(row)
        for name, rows in sessions.items():
            turns = [Segment(row["start"], row["end"], row["speaker"]) for row in rows]
            yield Recording(f"corpus, {split}", name, Path(rows[0]["audio"]), turns)


def measure(recordings: list[Recording], diarizer: Diarizer, known: bool) -> dict[str, DiarizationErrors]:
    errors = {}
    for one in recordings:
        used = replace(diarizer, num_speakers=one.speakers) if known else diarizer
        task = DerTask(one.turns, used(read_audio(one.audio, SAMPLE_RATE)), scored=one.zones)
        errors[one.name] = score_task(task)
    return errors


def percent(errors: DiarizationErrors) -> str:
    parts = (errors.missed, errors.false_alarm, errors.confusion)
    shares = ", ".join(f"{100 * part / errors.scored_speech:.1f}" for part in parts)
    return f"{100 * (errors.error_rate or 0):.1f} ({shares})"


def diarizers(embedder: SpeakerEmbedder, segmentation: str | None) -> dict[str, Diarizer]:
    found = {
        "silero, package's thresholds": Diarizer(SileroDetector(8.0, PACKAGE_SETTINGS), embedder, resegment=False),
        "silero, changes between windows": Diarizer(make_detector("silero", 8.0), embedder, resegment=False),
        "silero": Diarizer(make_detector("silero", 8.0), embedder),
    }
    if segmentation:
        detector = make_detector("segmentation", 8.0, segmentation)
        found["segmentation, changes between windows"] = Diarizer(detector, embedder, resegment=False)
        found["segmentation"] = Diarizer(detector, embedder)
        found["segmentation, overlap"] = Diarizer(detector, embedder, overlap=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path, help="recordings with RTTM and UEM")
    parser.add_argument("--embedding", required=True, help="public CAM++: file or folder")
    parser.add_argument("--corpus", type=Path, help="a corpus whose dev and test splits are read")
    parser.add_argument("--segmentation", help="pyannote/segmentation-3.0: folder")
    parser.add_argument("--languages", type=Path, default=Path("config/languages.tsv"))
    options = parser.parse_args()

    torch.set_num_threads(1)
    recordings = list(real_recordings(options.real))
    if options.corpus:
        recordings += corpus_recordings(options.corpus, options.languages)
    seconds = sum(len(read_audio(one.audio)) for one in recordings) / SAMPLE_RATE
    parts = list(dict.fromkeys(one.part for one in recordings))
    print("DER in % (missed, false alarm, confusion)")
    print(" | ".join(["diarizer", "speakers", *parts, "all recordings with UEM", "CPU time / duration"]))
    for name, diarizer in diarizers(
        load_embedder(options.embedding, "campplus", device="cpu"), options.segmentation
    ).items():
        for known in (False, True):
            start = time.process_time()
            errors = measure(recordings, diarizer, known)
            factor = (time.process_time() - start) / seconds
            pools = [pool_diarization(errors[one.name] for one in recordings if one.part == part) for part in parts]
            pools.append(pool_diarization(errors[one.name] for one in recordings if one.zones is not None))
            how = "known" if known else "estimated"
            print(" | ".join([name, how, *map(percent, pools), f"{factor:.3f}"]), flush=True)
            print(
                "    " + " ".join(f"{key} {100 * (one.error_rate or 0):.1f}" for key, one in errors.items()), flush=True
            )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
