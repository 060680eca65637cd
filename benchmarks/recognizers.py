"""Whisper here against transformers' pipeline: the same utterances, batch size, precision and threads, in one run.

    python benchmarks/recognizers.py MODEL MANIFEST [--utterances 32] [--batch-size 8] [--silence 2] [--language told]

Prints real-time factors (seconds of processor time per second of speech), their ratio and how many transcripts differ,
with the language told and found, and once more with shorter windows (`decoding.silence_s`). The utterances are spread
evenly over the manifest.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutomaticSpeechRecognitionPipeline, WhisperForConditionalGeneration, WhisperProcessor

from mlcslm.cli.score import find_languages
from mlcslm.config.languages import Group, read_languages
from mlcslm.config.recognizers import RecognizerConfig
from mlcslm.corpus.audio import SAMPLE_RATE, read_segment
from mlcslm.decoding.hypothesis_files import rows_to_decode
from mlcslm.recognition.batches import RecognizerDecoder
from mlcslm.recognition.loading import load_recognizer
from mlcslm.recognition.recognizer import quiet

Rows = Sequence[dict[str, Any]]
Texts = dict[str, str]


def ours(
    model: str, rows: Rows, groups: dict[str, Group], batch_size: int, language: str, silence_s: float | None = None
) -> Callable[[], Texts]:
    config = RecognizerConfig(
        model=model, batch_size=batch_size, language=language, precision="float32", decoding={"silence_s": silence_s}
    )
    decoder = RecognizerDecoder(load_recognizer(config), config, groups, "benchmark")
    return lambda: {one["utterance_id"]: one["transcript"] for batch in decoder.decode(rows) for one in batch}


def pipeline(model: str, rows: Rows, groups: dict[str, Group], batch_size: int, language: str) -> Callable[[], Texts]:
    processor, loaded = (
        WhisperProcessor.from_pretrained(model),
        WhisperForConditionalGeneration.from_pretrained(model, dtype=torch.float32),
    )
    processor.tokenizer.pad_token_id = loaded.config.pad_token_id
    recognizer = AutomaticSpeechRecognitionPipeline(
        loaded,
        tokenizer=processor.tokenizer,
        feature_extractor=processor.feature_extractor,
    )

    def run() -> Texts:
        found: Texts = {}
        # A pipeline is told one language at a time.
        codes = [None] if language == "found" else sorted({groups[row["grp"]].language for row in rows})
        for code in codes:
            chosen = [row for row in rows if code is None or groups[row["grp"]].language == code]
            audio = [
                {"raw": read_segment(row["audio"], row["start"], row["end"]), "sampling_rate": SAMPLE_RATE}
                for row in chosen
            ]
            # Without num_beams a pipeline searches with five.
            options = {"task": "transcribe", "num_beams": 1} | ({} if code is None else {"language": code})
            with quiet():
                answers = recognizer(audio, batch_size=batch_size, generate_kwargs=options)
            found |= {row["utterance_id"]: one["text"].strip() for row, one in zip(chosen, answers, strict=True)}
        return found

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--utterances", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--silence", type=float, default=2.0)
    parser.add_argument("--language", choices=["told", "found"], nargs="*", default=["told", "found"])
    options = parser.parse_args()
    groups = read_languages(find_languages())
    every = rows_to_decode(options.manifest)
    rows = every[:: max(1, len(every) // options.utterances)][: options.utterances]
    speech = sum(row["end"] - row["start"] for row in rows)
    print(f"{len(rows)} utterances, {speech:.1f} s of speech, batch size {options.batch_size}, float32")
    given = options.model, rows, groups, options.batch_size
    for language in options.language:
        runs = {
            "pipeline": pipeline(*given, language),
            "here": ours(*given, language),
            f"here, {options.silence:g} s of silence": ours(*given, language, options.silence),
        }
        seconds, texts = {}, {}
        for name, run in runs.items():
            started = time.process_time()
            texts[name] = run()
            seconds[name] = time.process_time() - started
        for name in runs:
            different = sum(texts[name][row["utterance_id"]] != texts["pipeline"][row["utterance_id"]] for row in rows)
            print(
                f"language {language}, {name}: real-time factor {seconds[name] / speech:.3f}, "
                f"{seconds['pipeline'] / seconds[name]:.2f} times as fast as the pipeline; "
                f"{different} transcripts differ",
                flush=True,
            )


if __name__ == "__main__":
    main()
