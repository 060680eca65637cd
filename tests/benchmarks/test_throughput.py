"""The throughput benchmark at toy size: what it measures and reports; no time is asserted."""

from __future__ import annotations

import csv
import gzip
import importlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # --import-mode=importlib finds nothing beside a conftest
from forked import run_program

from mlcslm.config.languages import Group, read_languages
from mlcslm.errors import FaultyInput, UserError
from mlcslm.model.build import build_speech_llm

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "throughput.py"
MODULES = ("sampling", "foundation", "variants")
REFERENCE, OURS = "30 s windows, 300 tokens, unsorted", "true lengths in buckets"
CACHED = "true lengths in buckets, cached frames"
# Centiseconds and reference tokens of the lengths file; the first lasts 1.23 s, so it has 123 mel frames, 13 tokens.
LENGTHS = [(0, 123, 3), (500, 600, 1), (1000, 1250, 4), (2000, 2040, 2)]


@pytest.fixture(scope="module")
def benchmark() -> Iterator[SimpleNamespace]:
    """The benchmark's modules, importable only while these tests run."""
    sys.path.insert(0, str(SCRIPT.parent))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    sys.path.remove(str(SCRIPT.parent))
    for name in MODULES:
        sys.modules.pop(name)


@pytest.fixture(scope="module")
def languages() -> dict[str, Group]:
    return read_languages(ROOT / "config" / "languages.tsv")


@pytest.fixture(scope="module")
def lengths_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lengths") / "wer.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["group", "utterance_id", "length", "errors"])
        for start, end, length in LENGTHS:
            rows.writerow(["English-American", f"English-American-0517_007-O1-{start:06d}-{end:06d}", length, 0])
    return path


@pytest.fixture(scope="module")
def report(lengths_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("out") / "report.json"
    options = ["--utterances", "4", "--decode-batch", "2", "--train-batch", "2", "--rounds", "1"]
    done = run_program(SCRIPT, "--size", "tiny", "--lengths", lengths_file, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    for name in ("decode", "train_stage1", "train_stage3", REFERENCE, CACHED):
        assert name in done.stdout
    return json.loads(out.read_text(encoding="utf-8"))


def test_report_names_what_was_measured(report: dict[str, Any]) -> None:
    assert {"date", "machine", "model", "lengths", "rounds", "seed", "tasks"} <= set(report)
    assert {"device", "dtype", "threads", "torch", "transformers"} <= set(report["machine"])
    assert report["lengths"]["utterances"] == 4
    assert report["lengths"]["mean_s"] == pytest.approx((1.23 + 1.00 + 2.50 + 0.40) / 4)
    assert list(report["tasks"]) == ["decode", "train_stage1", "train_stage3"]
    for task in report["tasks"].values():
        assert (task["utterances"], task["batches"], task["batch_size"]) == (4, 2, 2)


def test_report_has_each_way_with_its_ratio(report: dict[str, Any]) -> None:
    for name, task in report["tasks"].items():
        assert (CACHED in task["variants"]) == (name != "train_stage3")  # an adapted encoder's frames change every step
        assert len(task["variants"]) == 7 - (name == "train_stage3")
        assert task["variants"][REFERENCE]["ratio"] == 1.0
        for variant in task["variants"].values():
            assert variant["seconds"] == pytest.approx(variant["prepare_seconds"] + variant["model_seconds"])
            assert variant["ratio"] == pytest.approx(task["variants"][REFERENCE]["seconds"] / variant["seconds"])
            assert variant["ratio_cpu"] == pytest.approx(
                task["variants"][REFERENCE]["cpu_seconds"] / variant["cpu_seconds"]
            )
            assert (
                variant["ratio_low"] == variant["ratio_high"] == pytest.approx(variant["ratio"])
            )  # there is one round only


def test_audio_tokens_are_300_or_the_true_number(report: dict[str, Any]) -> None:
    true = (13 + 10 + 25 + 4) / 4
    expected = {
        REFERENCE: 300,
        OURS: true,
        CACHED: true,
        "(a) encoder window alone": 300,
        "(b) audio tokens alone": true,
        "(c) buckets alone": 300,
        "(a) and (b), unsorted": true,
    }
    for task in report["tasks"].values():
        for name, variant in task["variants"].items():
            assert variant["audio_tokens_per_utterance"] == expected[name], name


def test_encoder_and_language_model_do_the_work_that_each_way_says(
    benchmark: SimpleNamespace, languages: dict[str, Group], tmp_path: Path
) -> None:
    encoder, language_model, _ = benchmark.foundation.foundation_folders("tiny", tmp_path, ["USER: ASSISTANT:"], 0)
    model, processor = build_speech_llm(
        encoder=encoder, language_model=language_model, languages=languages, projector_hidden=8
    )
    variants = benchmark.variants
    feeder = variants.Feeder(model, processor, seed=0)
    seen: dict[str, list] = {"mel_frames": [], "positions": []}
    model.model.encoder.register_forward_pre_hook(lambda _, inputs: seen["mel_frames"].append(inputs[0].shape[-1]))
    model.model.language_model.register_forward_pre_hook(
        lambda _, __, inputs: seen["positions"].append(inputs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    batch = [benchmark.sampling.Utterance("French", seconds, 3) for seconds in (1.5, 0.7)]
    feeder.begin(variants.TASKS[0])
    feeder.fill_cache(batch, 2)
    for variant in (variants.REFERENCE, variants.OURS, variants.CACHED, *variants.ABLATIONS):
        seen["mel_frames"].clear(), seen["positions"].clear()
        feeder.run(variant, batch)
        assert seen["mel_frames"] == ([] if variant.cached else [150 if variant.true_window else 3000])
        prompt, *answer = seen["positions"]
        text = len(processor.encode_prompt("French", "tagged-own-language", audio_tokens=0))
        assert prompt == text + (15 if variant.true_tokens else 300)
        # Three tokens, two tags, language and end: the prompt's pass gives the first, six passes the others.
        assert answer == [1] * 6


def test_same_utterances_in_whole_batches(benchmark: SimpleNamespace, languages: dict[str, Group]) -> None:
    sampling = benchmark.sampling
    utterances = sampling.synthetic_lengths(languages, seed=3)
    for bucketed in (sampling.decoding_batches(utterances, 8, 64), sampling.training_batches(utterances, 8, 64, 1)):
        mixed = sampling.unsorted_batches(bucketed, seed=1)
        assert [len(batch) for batch in mixed] == [len(batch) for batch in bucketed] == [8] * 8
        assert Counter(u for batch in mixed for u in batch) == Counter(u for batch in bucketed for u in batch)
        widest = [max(u.seconds for u in batch) - min(u.seconds for u in batch) for batch in bucketed]
        assert max(widest) < 1.0 < np.mean([np.ptp([u.seconds for u in batch]) for batch in mixed])
        mean = np.mean([u.seconds for batch in bucketed for u in batch])
        assert mean == pytest.approx(np.mean([u.seconds for u in utterances]), rel=0.1)


def test_synthetic_lengths_have_the_dev_sets_quantiles(benchmark: SimpleNamespace, languages: dict[str, Group]) -> None:
    seconds = [u.seconds for u in benchmark.sampling.synthetic_lengths(languages, seed=0)]
    assert len(seconds) == 29_952
    assert np.mean(seconds) == pytest.approx(3.87, abs=0.05)
    assert np.percentile(seconds, [50, 90, 99]) == pytest.approx([3.72, 7.06, 8.00], abs=0.1)


def test_faulty_lengths_are_named(benchmark: SimpleNamespace, languages: dict[str, Group], tmp_path: Path) -> None:
    read = benchmark.sampling.read_lengths
    file = tmp_path / "lengths.csv"
    with pytest.raises(UserError, match="no such file"):
        read(file, languages)
    file.write_text("a,b,c\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"lengths\.csv:1: found columns \['a', 'b', 'c'\]"):
        read(file, languages)
    file.write_text(
        "group,utterance_id,length\nFrench,French-1-O1-000000-000100,2\nKlingon,x-0-1,1\nFrench,x,1\n", encoding="utf-8"
    )
    with pytest.raises(FaultyInput) as raised:
        read(file, languages)
    assert [fault.split(": ")[0].rsplit(":", 1)[1] for fault in raised.value.faults] == ["3", "4"]
    file.write_bytes(gzip.compress(b"group")[:-4])
    with pytest.raises(UserError, match="not readable"):
        read(file.rename(tmp_path / "lengths.csv.gz"), languages)


def test_more_batches_than_the_lengths_fill_are_refused(benchmark: SimpleNamespace) -> None:
    utterances = [benchmark.sampling.Utterance("French", 1.0, 2)] * 7
    with pytest.raises(UserError, match="fill only 1"):
        benchmark.sampling.decoding_batches(utterances, 4, 8)
