"""Decoding and training throughput of true lengths in buckets against 30 s windows, 300 audio tokens, unsorted batches.

One model, the same utterances, variants alternating batch by batch, medians over rounds: the ratios hardly depend on
other load. benchmarks/README.md says how to run it, docs/benchmarks.md has the results.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from foundation import SIZES, foundation_folders
from reporting import machine, measure
from sampling import (
    TOKENS_PER_UNIT,
    Utterance,
    decoding_batches,
    read_lengths,
    synthetic_lengths,
    training_batches,
    unsorted_batches,
)
from tqdm import tqdm
from variants import ABLATIONS, CACHED, OURS, REFERENCE, TASKS, Cost, Feeder, Task, Variant

from mlcslm.config.languages import read_languages
from mlcslm.model.build import build_speech_llm

ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    out = options.out or ROOT / "results" / "benchmarks" / f"throughput-{options.size}.json"
    measure(run, options, readable, out)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure as the options say; returns the report that becomes JSON."""
    languages = read_languages(ROOT / "config" / "languages.tsv")
    if options.lengths:
        utterances = read_lengths(options.lengths, languages)
    else:
        utterances = synthetic_lengths(languages, options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = "bfloat16" if device.type == "cuda" else "float32"
    texts = [f"USER: {group.prompt} ASSISTANT:" for group in languages.values()]
    with tempfile.TemporaryDirectory() as work:
        encoder, language_model, weights = foundation_folders(options.size, Path(work), texts, options.seed)
        model, processor = build_speech_llm(
            encoder=options.encoder or encoder,
            language_model=options.language_model or language_model,
            languages=languages,
            projector_hidden=SIZES[options.size].projector_hidden,
            dtype=dtype,
            seed=options.seed,
        )
    # A random model has thousands of rows without an id, unlike a trained one: suppressing them takes time.
    model.generation_config.suppress_tokens = [processor.audio_token_id]
    model = model.to(device)
    parameters = {
        "encoder": sum(p.numel() for p in model.model.encoder.parameters()),
        "projector": sum(p.numel() for p in model.model.projector.parameters()),
        "language_model": sum(p.numel() for p in model.model.language_model.parameters()),
    }
    feeder = Feeder(model, processor, options.seed)
    return {
        "date": datetime.date.today().isoformat(),
        "machine": _machine(dtype),
        "model": {
            "size": options.size,
            "encoder": options.encoder or weights,
            "language_model": options.language_model or weights,
            "parameters": parameters,
        },
        "lengths": _lengths(utterances, options.lengths),
        "rounds": options.rounds,
        "seed": options.seed,
        "tasks": {
            task.name: _measure_task(task, feeder, utterances, options) for task in TASKS if task.name in options.tasks
        },
    }


def _measure_task(
    task: Task, feeder: Feeder, utterances: Sequence[Utterance], options: argparse.Namespace
) -> dict[str, Any]:
    size = options.train_batch if task.trains else options.decode_batch
    if task.trains:
        bucketed = training_batches(utterances, size, options.utterances, options.seed)
    else:
        bucketed = decoding_batches(utterances, size, options.utterances)
    batches = {True: bucketed, False: unsorted_batches(bucketed, options.seed)}
    sample = [utterance for batch in bucketed for utterance in batch]
    variants = [REFERENCE, OURS]
    feeder.begin(task)
    cache_s = None
    if task.encoder_is_frozen:
        variants.append(CACHED)
        feeder.fill_cache(sample[:1], 1)  # the first call is always slow
        cache_s = feeder.fill_cache(sample, size)
    if not options.no_ablations:
        variants += ABLATIONS
    costs = _measure(feeder, variants, batches, options.rounds, task.name)
    return {
        "batch_size": size,
        "batches": len(bucketed),
        "utterances": len(sample),
        "mean_s": float(np.mean([utterance.seconds for utterance in sample])),
        "mean_answer_tokens": float(np.mean([utterance.answer_tokens for utterance in sample])),
        "cache_fill_seconds": cache_s,
        "variants": {variant.name: _summary(costs[variant], costs[REFERENCE], len(sample)) for variant in variants},
    }


def _measure(
    feeder: Feeder, variants: Sequence[Variant], batches: dict[bool, list[list[Utterance]]], rounds: int, label: str
) -> dict[Variant, list[list[Cost]]]:
    """Costs by variant, round and batch. Variants take turns at every batch, in alternating order."""
    count = len(batches[True])
    costs: dict[Variant, list[list[Cost]]] = {variant: [] for variant in variants}
    for variant in variants:
        feeder.run(variant, batches[variant.buckets][count // 2][:2])  # warm-up
    with tqdm(total=rounds * count * len(variants), desc=label, mininterval=2) as bar:
        for number in range(rounds):
            for variant in variants:
                costs[variant].append([])
            for index in range(count):
                for variant in variants[:: 1 if (number + index) % 2 == 0 else -1]:
                    costs[variant][-1].append(feeder.run(variant, batches[variant.buckets][index]))
                    bar.update()
    return costs


def _summary(costs: list[list[Cost]], reference: list[list[Cost]], utterances: int) -> dict[str, float]:
    """A variant's seconds and throughput, and its speed-up over the reference: by the clock, by CPU time, and by the
    clock for the model alone.

    A batch's seconds are the median over rounds; the ratios' low and high are the extremes of single rounds.
    """
    prepare, model, computed = (_seconds(costs, part) for part in ("prepare_s", "model_s", "cpu_s"))
    reference_prepare, reference_model, reference_computed = (
        _seconds(reference, part) for part in ("prepare_s", "model_s", "cpu_s")
    )
    rounds = list(zip(reference, costs, strict=True))
    by_clock = [_seconds([one], "wall_s") / _seconds([other], "wall_s") for one, other in rounds]
    by_cpu = [_seconds([one], "cpu_s") / _seconds([other], "cpu_s") for one, other in rounds]
    return {
        "seconds": prepare + model,
        "prepare_seconds": prepare,
        "model_seconds": model,
        "cpu_seconds": computed,
        "utterances_per_second": utterances / (prepare + model),
        "audio_tokens_per_utterance": sum(cost.audio_tokens for cost in costs[0]) / utterances,
        "ratio": (reference_prepare + reference_model) / (prepare + model),
        "ratio_low": min(by_clock),
        "ratio_high": max(by_clock),
        "ratio_cpu": reference_computed / computed,
        "ratio_cpu_low": min(by_cpu),
        "ratio_cpu_high": max(by_cpu),
        "ratio_model_alone": reference_model / model,
    }


def _seconds(costs: list[list[Cost]], part: str) -> float:
    """Sum over batches of the median over rounds."""
    return sum(median(getattr(cost, part) for cost in batch) for batch in zip(*costs, strict=True))


def readable(report: dict[str, Any]) -> list[str]:
    """The report as lines of text."""
    on, model, lengths = report["machine"], report["model"], report["lengths"]
    millions = {name: f"{count / 1e6:.1f} M" for name, count in model["parameters"].items()}
    lines = [
        f"{report['date']}: {on['device']}, {on['dtype']}, {on['threads']} thread(s), "
        f"torch {on['torch']}, transformers {on['transformers']}",
        f"model {model['size']}: encoder {millions['encoder']}, language model {millions['language_model']}",
        f"lengths: {lengths['utterances']} utterances ({lengths['source']}), mean {lengths['mean_s']:.2f} s, "
        f"p50 {lengths['p50_s']:.2f}, p90 {lengths['p90_s']:.2f}, p99 {lengths['p99_s']:.2f}",
    ]
    for name, task in report["tasks"].items():
        lines += [
            "",
            f"{name}: {task['utterances']} utterances, mean {task['mean_s']:.2f} s and "
            f"{task['mean_answer_tokens']:.1f} answer tokens, {task['batches']} batches of {task['batch_size']}",
            f"{'':40} {'by clock':>9} {'rounds':>12} {'by CPU time':>12} {'rounds':>12} {'clock s':>8} {'CPU s':>8}",
        ]
        for variant, values in task["variants"].items():
            lines.append(
                f"{variant:40} {values['ratio']:8.2f}x {_spread(values, 'ratio'):>12} {values['ratio_cpu']:11.2f}x "
                f"{_spread(values, 'ratio_cpu'):>12} {values['seconds']:8.2f} {values['cpu_seconds']:8.2f}"
            )
        if task["cache_fill_seconds"] is not None:
            lines.append(f"filling the cache, once for all passes over it: {task['cache_fill_seconds']:.2f} s")
    return lines


def _spread(values: dict[str, float], name: str) -> str:
    return f"{values[f'{name}_low']:.2f}-{values[f'{name}_high']:.2f}"


def _machine(dtype: str) -> dict[str, Any]:
    return machine() | {
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "dtype": dtype,
        "python": platform.python_version(),
    }


def _lengths(utterances: Sequence[Utterance], source: Path | None) -> dict[str, Any]:
    seconds = np.array([utterance.seconds for utterance in utterances])
    quantiles = {f"p{share}_s": float(np.percentile(seconds, share)) for share in (50, 90, 99)}
    return {
        "source": source.name if source else "synthetic",
        "utterances": len(utterances),
        "mean_s": float(seconds.mean()),
        **quantiles,
        "mean_answer_tokens": float(np.mean([utterance.answer_tokens for utterance in utterances])),
        "tokens_a_unit": TOKENS_PER_UNIT,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--lengths", type=Path, help="results CSV (or .csv.gz) whose ids give the lengths; default: synthetic lengths")
    add("--utterances", type=_positive, default=256, help="utterances to measure, in whole batches (default 256)")
    add("--size", choices=SIZES, default="demo", help="shape of the models (default demo)")
    add("--encoder", help="Whisper checkpoint, hub id or folder, instead of that of --size")
    add("--language-model", help="causal language model, hub id or folder, instead of that of --size")
    add("--decode-batch", type=_positive, default=32, help="utterances per decoding batch (default 32)")
    add("--train-batch", type=_positive, default=16, help="utterances per training batch (default 16)")
    add("--rounds", type=_positive, default=3, help="how often to measure everything (default 3)")
    names = [task.name for task in TASKS]
    add("--tasks", nargs="+", choices=names, default=names, help="what to measure (default all)")
    add("--no-ablations", action="store_true", help="measure only both variants and the cache, not each change alone")
    add("--seed", type=int, default=17, help="seed of the sample, the noise and the random weights (default 17)")
    add("--out", type=Path, help="JSON to write (default results/benchmarks/throughput-SIZE.json)")
    return parser


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"found {value}, expected 1 or more")
    return value


if __name__ == "__main__":
    main()
