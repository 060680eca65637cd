"""Speed-up of decoding with many settings: one job for all, a prompt shared by all beams, length buckets.

The same utterances are decoded with and without each, alternately. benchmarks/README.md says how to run it,
docs/decoding.md has the results.
"""

from __future__ import annotations

import argparse
import datetime
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.parquet as pq
import torch
from decoding_variants import Job, transformers_search, unsorted_batches
from reporting import machine, measure
from tqdm import tqdm

from mlcslm.config.decoding import DecodingConfig
from mlcslm.config.languages import read_languages
from mlcslm.config.paper_tables import read_paper_tables
from mlcslm.config.reading import read_config
from mlcslm.decoding.batching import length_buckets
from mlcslm.decoding.compiled_tree import CompiledTrees
from mlcslm.decoding.decoder import Decoder
from mlcslm.decoding.search import search
from mlcslm.errors import UserError
from mlcslm.model.checkpoint import load_checkpoint
from mlcslm.model.checkpoint_file import read_checkpoint
from mlcslm.model.lora import merge_lora
from mlcslm.model.precision import model_dtype

ROOT = Path(__file__).parents[1]
Times = dict[str, list[tuple[float, float]]]
"""Elapsed and CPU seconds by variant, one pair per round."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    measure(run, options, readable, options.out)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure as the options say; returns the report that becomes JSON."""
    config = read_config(options.config)
    decodings = _decodings(options, config)
    with tempfile.TemporaryDirectory() as work:
        manifest = _sample(options.manifest, options.utterances, Path(work))
        job = Job(
            checkpoint=str(options.checkpoint),
            manifest=str(manifest),
            languages=config.languages,
            encoder=config.models.encoder,
            language_model=config.models.language_model,
            plain=False,
            decodings={},
        )
        measured = {}
        if "parts" in options.measure:
            measured |= _parts(job, decodings, options.rounds)
        if "jobs" in options.measure:
            measured |= _jobs(job, decodings, options.rounds, Path(work))
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "checkpoint": options.checkpoint.name,
        "utterances": options.utterances,
        "decodings": {name: one.model_dump(mode="json") for name, one in decodings.items()},
        "rounds": options.rounds,
        "measured": measured,
    }


def _decodings(options: argparse.Namespace, config: Any) -> dict[str, DecodingConfig]:
    """The requested decodings, by default those of Table 4 that the configuration has."""
    rows = read_paper_tables(Path(config.tables))["table4"].rows
    names = options.decodings or [row.measures.decoding for row in rows if row.measures.decoding in config.decodings]
    if missing := [name for name in names if name not in config.decodings]:
        raise UserError(f"{options.config}: no decoding {', '.join(missing)}; it has {', '.join(config.decodings)}.")
    if not names:
        raise UserError(f"{options.config}: none of Table 4's decodings; name others with --decodings.")
    chosen = {name: config.decodings[name] for name in names}
    return {
        name: one.model_copy(update={"batch_size": options.batch or one.batch_size}) for name, one in chosen.items()
    }


def _sample(manifest: Path, count: int, folder: Path) -> Path:
    """A manifest of `count` utterances, evenly spread from the shortest to the longest, in the manifest's order."""
    if not manifest.is_file():
        raise UserError(f"{manifest}: no such manifest. Run the workflow first to make it and the checkpoint.")
    table = pq.read_table(manifest)
    if count > table.num_rows:
        raise UserError(f"{manifest}: found {table.num_rows} utterances, {count} requested: request fewer.")
    seconds = [end - start for start, end in zip(table["start"].to_pylist(), table["end"].to_pylist(), strict=True)]
    order = sorted(range(table.num_rows), key=seconds.__getitem__)
    chosen = sorted(order[int((number + 0.5) * len(order) / count)] for number in range(count))
    pq.write_table(table.take(chosen), folder / "sample.parquet")
    return folder / "sample.parquet"


def _parts(job: Job, decodings: dict[str, DecodingConfig], rounds: int) -> dict[str, Any]:
    """By decoding: a prompt shared by all beams against one per beam, buckets against none, and compiled steps."""
    languages = read_languages(job.languages)
    folder = Path(job.checkpoint)
    model, processor = load_checkpoint(
        folder, languages=languages, encoder=job.encoder, language_model=job.language_model, dtype=model_dtype()
    )
    merge_lora(model)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    rows = pq.read_table(job.manifest).to_pylist()
    base = Decoder(model, processor, read_checkpoint(folder).recipe["template"], next(iter(decodings.values())))
    for batch in length_buckets(rows, 16):
        base.audio.encode(batch)

    def decode(batches: Sequence[Sequence[dict]], decoding: DecodingConfig, find: Callable[..., Any]) -> list[int]:
        lengths = []
        for batch in batches:
            inputs = processor.collate(base.examples(batch)[0], side="left")
            prompts = {name: tensor.to(model.device) for name, tensor in inputs.items()}
            answers = find(model, prompts, [row["utterance_id"] for row in batch], decoding)
            lengths += [len(processor.completion(ids)[0]) for ids in answers]
        return lengths

    measured = {}
    for name, decoding in decodings.items():
        sorted_batches = list(length_buckets(rows, decoding.batch_size))
        lengths = decode(sorted_batches, decoding, search)  # a slow first run, whose lengths define the buckets
        order = [row["utterance_id"] for batch in sorted_batches for row in batch]
        buckets = list(length_buckets(rows, decoding.batch_size, dict(zip(order, lengths, strict=True))))
        unsorted = list(unsorted_batches(rows, decoding.batch_size))
        variants = {"without": lambda b=unsorted, d=decoding: decode(b, d, search)}
        variants["with"] = lambda b=buckets, d=decoding: decode(b, d, search)
        if len(buckets) > 1:
            measured[f"buckets, {name}"] = _summary(_in_turn(variants, rounds, f"buckets {name}"))
        if decoding.method == "beam":
            variants = {"without": lambda b=buckets, d=decoding: decode(b, d, transformers_search)}
            variants["with"] = lambda b=buckets, d=decoding: decode(b, d, search)
            measured[f"shared prefix, {name}"] = _summary(_in_turn(variants, rounds, f"prefix {name}"))
        if torch.cuda.is_available():
            compiled = partial(search, compiled_trees=CompiledTrees())
            decode(buckets, decoding, compiled)  # a first run, which compiles
            variants = {"without": lambda b=buckets, d=decoding: decode(b, d, search)}
            variants["with"] = lambda b=buckets, d=decoding, find=compiled: decode(b, d, find)
            measured[f"compiled steps, {name}"] = _summary(_in_turn(variants, rounds, f"compiled {name}"))
    return measured


def _jobs(job: Job, decodings: dict[str, DecodingConfig], rounds: int, work: Path) -> dict[str, Any]:
    """All decodings in one job against one job each, also with every optimisation off."""
    settings = {name: one.model_dump(mode="json") for name, one in decodings.items()}
    jobs = {"one": [dict(settings)], "each": [{name: one} for name, one in settings.items()]}

    def run_jobs(kind: str, plain: bool) -> None:
        for number, chosen in enumerate(jobs[kind]):
            with tempfile.TemporaryDirectory(dir=work) as folder:
                outs = {str(Path(folder) / f"{name}.parquet"): one for name, one in chosen.items()}
                spec = Path(folder) / f"{number}.json"
                spec.write_text(json.dumps(asdict(replace(job, plain=plain, decodings=outs))), encoding="utf-8")
                command = [sys.executable, str(Path(__file__).with_name("decoding_variants.py")), str(spec)]
                done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
                if done.returncode:
                    raise UserError(f"a job exited with status {done.returncode}:\n{done.stderr}")

    variants = {
        "without": lambda: run_jobs("each", False),
        "with": lambda: run_jobs("one", False),
        "plain": lambda: run_jobs("each", True),
    }
    times = _in_turn(variants, rounds, "jobs")
    count = len(decodings)
    return {
        f"{count} decodings in one job": _summary({variant: times[variant] for variant in ("without", "with")}),
        "the whole": _summary({"without": times["plain"], "with": times["with"]}),
    }


def _in_turn(variants: dict[str, Callable[[], Any]], rounds: int, label: str) -> Times:
    """Each variant once per round, in alternating order; CPU seconds include child processes."""
    times: Times = {variant: [] for variant in variants}
    for number in tqdm(range(rounds), desc=label, mininterval=2):
        for variant in list(variants)[:: 1 if number % 2 == 0 else -1]:
            clock, cpu = time.perf_counter(), _cpu_seconds()
            variants[variant]()
            times[variant].append((time.perf_counter() - clock, _cpu_seconds() - cpu))
    return times


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _summary(times: Times) -> dict[str, Any]:
    """Seconds without and with, as medians over rounds, and their ratio."""
    report: dict[str, Any] = {}
    for index, kind in enumerate(("clock", "cpu")):
        without, with_it = ([seconds[index] for seconds in times[variant]] for variant in ("without", "with"))
        ratios = [one / other for one, other in zip(without, with_it, strict=True)]
        report[kind] = {
            "without_s": median(without),
            "with_s": median(with_it),
            "ratio": median(without) / median(with_it),
            "ratio_low": min(ratios),
            "ratio_high": max(ratios),
        }
    return report


def readable(report: dict[str, Any]) -> list[str]:
    """The report as lines of text."""
    on = report["machine"]
    lines = [
        f"{report['date']}: {on['device']}, torch {on['torch']}, transformers {on['transformers']}",
        f"{report['checkpoint']}: {report['utterances']} utterances, {len(report['decodings'])} decodings, "
        f"{report['rounds']} round(s)",
        f"{'':40} {'by clock':>9} {'by CPU time':>12} {'without s':>10} {'with s':>8}",
    ]
    for name, values in report["measured"].items():
        clock, cpu = values["clock"], values["cpu"]
        ratios = f"{clock['ratio']:8.2f}x {cpu['ratio']:11.2f}x"
        lines.append(f"{name:40} {ratios} {clock['without_s']:10.2f} {clock['with_s']:8.2f}")
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", type=Path, default=ROOT / "config" / "demo.yaml", help="preset (default config/demo.yaml)")
    add("--checkpoint", type=Path, default=Path("results/checkpoints/ckpt-10000"), help="checkpoint to decode with")
    add(
        "--manifest",
        type=Path,
        default=Path("results/manifests/dev.parquet"),
        help="manifest to sample utterances from",
    )
    add("--decodings", nargs="+", help="decodings of the preset (default Table 4's)")
    add("--utterances", type=int, default=48, help="number of utterances, of all lengths (default 48)")
    add("--batch", type=int, help="utterances per batch, instead of the decodings' own")
    add("--rounds", type=int, default=3, help="how often to measure everything (default 3)")
    add(
        "--measure",
        nargs="+",
        choices=("parts", "jobs"),
        default=("parts", "jobs"),
        help="what to measure (default both)",
    )
    add("--out", type=Path, default=Path("results/benchmarks/decoding.json"), help="JSON to write")
    return parser


if __name__ == "__main__":
    main()
