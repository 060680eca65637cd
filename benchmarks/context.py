"""Throughput of decoding with hypotheses as context, against decoding without context.

Variants take turns, round by round, on the same checkpoint and utterances; ratios are of medians over rounds.
benchmarks/README.md says how to run it, docs/context.md has the results.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from reporting import measure

from mlcslm.config.decoding import DecodingConfig
from mlcslm.config.languages import read_languages
from mlcslm.decoding.batching import length_buckets
from mlcslm.decoding.context import decode_in_rounds, decode_with_hypothesis_context, with_reference_context
from mlcslm.decoding.conversations import Conversations
from mlcslm.decoding.decoder import Decoder
from mlcslm.decoding.encoded_audio import EncodedAudio
from mlcslm.decoding.hypothesis_files import rows_to_decode
from mlcslm.errors import UserError
from mlcslm.model.checkpoint import load_checkpoint
from mlcslm.model.checkpoint_file import read_checkpoint
from mlcslm.model.lora import merge_lora

ROOT = Path(__file__).parents[1]
NONE, REFERENCE, HYPOTHESES, ROUNDS, LOOP = (
    "none",
    "reference",
    "hypotheses",
    "hypotheses, batch by batch",
    "hypotheses, one by one",
)

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    measure(run, options, readable, options.out)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure as the options say; returns the report that becomes JSON."""
    recipe = read_checkpoint(options.checkpoint).recipe
    if not (count := recipe.get("context", 0)):
        raise UserError(f"{options.checkpoint}: trained without context; use one such as ckpt-9000-context.")
    cuda = torch.cuda.is_available()
    model, processor = load_checkpoint(
        options.checkpoint,
        languages=read_languages(ROOT / "config" / "languages.tsv"),
        encoder=options.encoder,
        language_model=options.language_model,
        dtype="bfloat16" if cuda and torch.cuda.is_bf16_supported() else "float32",
    )
    merge_lora(model)
    model = model.to("cuda" if cuda else "cpu")
    decoding = DecodingConfig(max_new_tokens=options.max_new_tokens, batch_size=options.batch_size)
    rows = sample_sessions(rows_to_decode(options.manifest), options.sessions)

    def decoder() -> Decoder:
        """A decoder that has not encoded anything yet."""
        audio = EncodedAudio(model, processor)
        if options.encoded:
            for batch in length_buckets(rows, options.batch_size):
                audio.encode(batch)
        return Decoder(model, processor, recipe["template"], decoding, audio=audio)

    variants = [NONE, REFERENCE, HYPOTHESES, ROUNDS, *([LOOP] if options.loop else [])]
    costs, answers = _measure(decoder, variants, rows, options.manifest, count, options.rounds)
    seconds = {
        variant: {clock: median(one[clock] for one in costs[variant]) for clock in ("wall", "cpu")}
        for variant in variants
    }
    return {
        "date": datetime.date.today().isoformat(),
        "device": torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} thread(s)",
        "sessions": len({row["session_id"] for row in rows}),
        "utterances": len(rows),
        "audio_seconds": sum(row["end"] - row["start"] for row in rows),
        "batch_size": options.batch_size,
        "encoder": "not included" if options.encoded else "included",
        "rounds": options.rounds,
        "variants": {
            variant: {
                "wall_seconds": seconds[variant]["wall"],
                "cpu_seconds": seconds[variant]["cpu"],
                "throughput_wall": seconds[NONE]["wall"] / seconds[variant]["wall"],
                "throughput_cpu": seconds[NONE]["cpu"] / seconds[variant]["cpu"],
                "rounds_cpu": [none["cpu"] / one["cpu"] for none, one in zip(costs[NONE], costs[variant], strict=True)],
                "mean_tokens": float(np.mean([one["tokens"] for one in answers[variant].values()])),
                "as_own": sum(
                    one["raw_text"] == answers[HYPOTHESES][name]["raw_text"] for name, one in answers[variant].items()
                ),
            }
            for variant in variants
        },
    }


def sample_sessions(rows: Sequence[Row], count: int | None) -> list[Row]:
    """Rows of `count` sessions, spread evenly over all (by default all of them)."""
    names = sorted({row["session_id"] for row in rows})
    if count is not None and count > len(names):
        raise UserError(f"--sessions {count}: the manifest has only {len(names)}.")
    chosen = {names[i * len(names) // (count or len(names))] for i in range(count or len(names))}
    return [row for row in rows if row["session_id"] in chosen]


def _measure(
    make_decoder: Callable[[], Decoder],
    variants: Sequence[str],
    rows: list[Row],
    manifest: Path,
    count: int,
    rounds: int,
) -> tuple[dict[str, list[dict[str, float]]], dict[str, dict[str, Row]]]:
    """Seconds by variant and round, and each variant's hypotheses by utterance id."""
    costs: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    answers: dict[str, dict[str, Row]] = {}
    for batches in (decode(variant, make_decoder(), rows, manifest, count) for variant in (NONE, HYPOTHESES)):
        next(batches)  # warm-up
    for number in range(rounds):
        for variant in variants[:: 1 if number % 2 == 0 else -1]:
            decoder = make_decoder()
            wall, cpu = time.perf_counter(), time.process_time()
            found = list(itertools.chain.from_iterable(decode(variant, decoder, rows, manifest, count)))
            costs[variant].append({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu})
            answers[variant] = {one["utterance_id"]: one for one in found}
            print(f"round {number + 1}: {variant}: {costs[variant][-1]['cpu']:.1f} CPU seconds", file=sys.stderr)
    return costs, answers


def decode(variant: str, decoder: Decoder, rows: list[Row], manifest: Path, count: int) -> Iterator[list[Row]]:
    """Hypotheses of `rows` as they come."""
    size = decoder.decoding.batch_size
    if variant == HYPOTHESES:
        yield from decode_with_hypothesis_context(decoder, rows, count, {})
    elif variant in (ROUNDS, LOOP):
        yield from decode_in_rounds(decoder, Conversations(rows, count, {}), size if variant == ROUNDS else 1)
    else:
        given = with_reference_context(rows, manifest, count) if variant == REFERENCE else rows
        for batch in length_buckets(given, size):
            yield decoder.decode(batch)


def readable(report: dict[str, Any]) -> list[str]:
    """The report as lines of text."""
    return [
        f"{report['date']}: {report['device']}; {report['sessions']} sessions, {report['utterances']} utterances, "
        f"{report['audio_seconds']:.0f} s of speech; batches of {report['batch_size']}, encoder {report['encoder']}",
        f"{'context':24} {'of none, by CPU':>16} {'rounds':>12} {'by clock':>9} {'CPU s':>7} {'tokens':>7} {'same':>7}",
        *(
            f"{variant:24} {values['throughput_cpu']:16.2f} "
            f"{min(values['rounds_cpu']):7.2f}-{max(values['rounds_cpu']):.2f} {values['throughput_wall']:9.2f} "
            f"{values['cpu_seconds']:7.1f} {values['mean_tokens']:7.1f} {values['as_own']:7d}"
            for variant, values in report["variants"].items()
        ),
    ]


def _parser() -> argparse.ArgumentParser:
    results = ROOT / "results"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", type=Path, default=results / "checkpoints" / "ckpt-9000-context", help="trained with context")
    add("--manifest", type=Path, default=results / "manifests" / "dev.parquet", help="whole sessions with transcripts")
    add("--encoder", help="the foundation encoder, if it has moved since training")
    add("--language-model", help="the foundation language model, likewise")
    add("--sessions", type=int, help="number of sessions from the manifest (default all)")
    add("--batch-size", type=int, default=32, help="utterances side by side (default 32)")
    add("--max-new-tokens", type=int, default=100, help="longest answer (default 100)")
    add("--rounds", type=int, default=3, help="how often to measure everything (default 3)")
    add("--encoded", action="store_true", help="exclude the encoder, as for the second decoding of a split")
    add("--loop", action="store_true", help="also measure the plain loop, one utterance at a time")
    add("--out", type=Path, default=results / "benchmarks" / "context.json", help="JSON to write")
    return parser


if __name__ == "__main__":
    main()
