"""Whisper here against transformers' own `generate`: the same transcripts, word for word, alone and in batches?

    python benchmarks/whisper_equality.py MODEL MANIFEST [--per-group 20] [--batch-size 4] [--beams 5]

Takes the same number of utterances of every group, spread evenly over it, a batch of each group in turn, and prints how
many transcripts differ so far; every one that differs is printed. Exits with status 1 if any does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from mlcslm.cli.score import find_languages
from mlcslm.config.languages import read_languages
from mlcslm.config.recognizers import RecognizerConfig
from mlcslm.corpus.audio import SAMPLE_RATE, read_segment
from mlcslm.decoding.hypothesis_files import rows_to_decode
from mlcslm.recognition.loading import load_recognizer
from mlcslm.recognition.recognizer import quiet

Row = dict[str, Any]


def batches(rows: Sequence[Row], per_group: int, size: int) -> Iterator[list[Row]]:
    """Batches of one group each, the groups in turn."""
    chosen: dict[str, list[Row]] = {}
    for group in dict.fromkeys(row["grp"] for row in rows):
        every = [row for row in rows if row["grp"] == group]
        chosen[group] = every[:: max(1, len(every) // per_group)][:per_group]
    for start in range(0, per_group, size):
        yield from (those[start : start + size] for those in chosen.values() if those[start:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--per-group", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--language", choices=["told", "found"], default="told")
    parser.add_argument("--beams", type=int, default=1)
    options = parser.parse_args()
    groups = read_languages(find_languages())
    ours = load_recognizer(
        RecognizerConfig(model=options.model, precision="float32", decoding={"beams": options.beams})
    )
    processor = WhisperProcessor.from_pretrained(options.model)
    theirs = WhisperForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32)

    def generate(audio: Any, language: str | None) -> str:
        features = processor.feature_extractor(audio, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        with torch.inference_mode(), quiet():
            ids = theirs.generate(
                features, language=language, task="transcribe", num_beams=options.beams, return_timestamps=False
            )
        return str(processor.batch_decode(ids, skip_special_tokens=True)[0]).strip()

    done: dict[str, int] = {}
    different = {"alone": 0, "in a batch": 0}
    for rows in batches(rows_to_decode(options.manifest), options.per_group, options.batch_size):
        audio = [read_segment(row["audio"], row["start"], row["end"]) for row in rows]
        code = groups[rows[0]["grp"]].language if options.language == "told" else None
        expected = [generate(one, code) for one in audio]
        found = {
            "alone": [ours.answer(ours.prepare([one], [code]))[0].text for one in audio],
            "in a batch": [one.text for one in ours.answer(ours.prepare(audio, [code] * len(audio)))],
        }
        for how, texts in found.items():
            for row, one, other in zip(rows, texts, expected, strict=True):
                if one != other:
                    different[how] += 1
                    print(f"{row['utterance_id']} {how}: {one!r}, generate: {other!r}")
        done[rows[0]["grp"]] = done.get(rows[0]["grp"], 0) + len(rows)
        counts = ", ".join(f"{group} {count}" for group, count in done.items())
        print(
            f"{sum(done.values())} utterances ({counts}): {different['alone']} differ alone, {different['in a batch']} "
            f"in batches of {options.batch_size}",
            flush=True,
        )
    sys.exit(any(different.values()))


if __name__ == "__main__":
    main()
