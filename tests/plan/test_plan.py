"""Plans of whole configurations: memory by part, hours, what fits, and how it is printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import typer
import yaml
from typer.testing import CliRunner

from mlcslm.cli import plan as cli
from mlcslm.config.reading import read_config, read_config_files
from mlcslm.errors import FaultyInput, UserError
from mlcslm.plan.costs import write_stage_costs
from mlcslm.plan.jobs import job_counts, needed_for_tables
from mlcslm.plan.micro_batch import Meter
from mlcslm.plan.plan import Plan, make_plan
from mlcslm.plan.report import as_json, as_markdown, as_text
from mlcslm.plan.shapes import read_shapes
from mlcslm.plan.stages import Planner
from mlcslm.plan.throughput import GIB, Gpu, read_throughput
from mlcslm.plan.work import Works
from mlcslm.plan.workload import SplitSize, split_sizes
from mlcslm.workflow.layout import Layout

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
TABLE = REPOSITORY / "config" / "throughput.yaml"
TRAINS = ["projector", "embedding", "head", "lm_lora", "encoder_lora"]


@pytest.fixture(scope="module")
def config(make_config: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    stages = {
        "ckpt-2000": {"steps": 7},
        "ckpt-4000": {"parent": "ckpt-2000", "steps": 5, "trains": TRAINS[:3], "template": "tagged", "accumulation": 3},
        "ckpt-7000": {"parent": "ckpt-4000", "steps": 3, "trains": TRAINS, "template": "tagged-own-language"},
        "ckpt-10000": {"parent": "ckpt-7000", "steps": 3, "trains": TRAINS, "template": "reasoning"},
    }
    rewarded = {"kind": "reinforcement", "template": "reasoning", "parent": "ckpt-10000", "trains": TRAINS, "steps": 2}
    for reward in ("accuracy", "accuracy+correction"):
        stages[f"ckpt-12500/format+{reward}"] = rewarded | {"rewards": ["format", *reward.split("+")]}
    beams = {"method": "beam+sampling", "beams": 8, "max_new_tokens": 180}
    decodings = {"greedy": {"max_new_tokens": 60}, "beam-sampling-8-180": beams}
    results = str(tmp_path_factory.mktemp("results"))
    return make_config(stages, decodings=decodings, results=results, resources={"cache_encoder": False})


@pytest.fixture(scope="module")
def plan(config: Any, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Of models of one layer, whose shapes lie in folders without weights."""
    folder = tmp_path_factory.mktemp("shapes")
    for kind, key in (("encoder", "encoder_layers"), ("language_model", "num_hidden_layers")):
        values = json.loads((Path(getattr(config.models, kind)) / "config.json").read_text("utf-8"))
        (folder / kind).mkdir()
        (folder / kind / "config.json").write_text(json.dumps(values | {key: 1, "layer_types": None}))
    places = {kind: str(folder / kind) for kind in ("encoder", "language_model")}
    return make_plan(config, throughput=TABLE, **places)


def test_memory_is_of_what_is_trained(plan: Plan) -> None:
    stages = {stage.name: stage for stage in plan.stages}
    assert list(stages) == list(plan.config.stages)
    for name, stage in stages.items():
        assert stage.memory["gradients"] == 4 * stage.trainable
        assert stage.memory["optimiser"] == 8 * stage.trainable
        assert stage.memory.get("reference", 0) == (4 * stage.trainable if "12500" in name else 0)
        assert stage.peak_bytes == sum(stage.memory.values()) > stage.memory["activations"] > 0
    first, last = stages["ckpt-2000"], stages["ckpt-7000"]
    assert first.trainable == plan.sizes["projector"]
    assert last.trainable == sum(plan.sizes[part] for part in TRAINS)
    # Weights: two bytes each, four where they are trained.
    untrained = plan.sizes["encoder"] + plan.sizes["language_model"]
    assert first.memory["weights"] == 2 * untrained + 4 * plan.sizes["projector"]


def test_hours_are_operations_over_what_the_gpu_does(plan: Plan) -> None:
    shares = plan.gpu.shares
    for stage, share in zip(plan.stages, [shares.training] * 2 + [shares.training_adapters] * 2, strict=False):
        speech_s = stage.utterances * plan.splits["train"].mean_s  # read before each step: there are no workers
        reading = speech_s * plan.throughput.host.features_ms / 1000
        assert stage.seconds == pytest.approx(stage.flops / (plan.gpu.bfloat16_tflops * 1e12 * share) + reading)
        assert stage.gpu_hours == pytest.approx(stage.steps * stage.seconds / 3600)
    by_name = {stage.name: stage for stage in plan.stages}
    assert by_name["ckpt-4000"].utterances == 12
    # Three micro-batches, with a little longer a text: a little more than three times the first stage's tokens.
    assert 3.0 < by_name["ckpt-4000"].tokens / by_name["ckpt-2000"].tokens < 4.0
    assert [stage.name for stage in plan.longest_chain][:4] == ["ckpt-2000", "ckpt-4000", "ckpt-7000", "ckpt-10000"]
    assert set(plan.gpu_hours) <= set(plan.jobs)
    assert plan.gpu_hours["train"] == pytest.approx(sum(by_name[name].gpu_hours for name in plan.needed.checkpoints))


def test_a_step_of_decoding_takes_what_is_slowest() -> None:
    gpu = Gpu(name="toy", memory_gib=1, reserved_gib=0.5, bfloat16_tflops=1, bandwidth_gb_s=100)
    bandwidth, prompts, step = gpu.shares.bandwidth, gpu.shares.prompts, gpu.shares.step_ms / 1000
    assert gpu.step_seconds(1, 1, 1) == step
    assert gpu.step_seconds(40e9, 20e9, 1) == pytest.approx(60e9 / (100e9 * bandwidth))
    assert gpu.step_seconds(1, 1, 9e12) == pytest.approx(9 / prompts)
    assert gpu.usable_bytes == 2**29


def test_every_format_has_every_stage_and_job(plan: Plan) -> None:
    text, markdown, values = as_text(plan), as_markdown(plan), json.loads(as_json(plan))
    for printed in (text, markdown):
        for name in ("ckpt-2000", "ckpt-12500/... (2)", "beam-sampling-8-180", "decode_training_set", "assumed"):
            assert name in printed
    assert [stage["name"] for stage in values["stages"]] == list(plan.config.stages)
    assert values["jobs"] == dict(plan.jobs)
    assert all(stage["fits"] for stage in values["stages"])
    tables = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in tables}) <= 5  # each table's rows have as many cells as its head


def test_manifests_say_how_much_there_is(config: Any, plan: Plan, tmp_path: Path) -> None:
    layout = Layout(config.model_copy(update={"results": str(tmp_path)}))
    (tmp_path / "manifests").mkdir()
    columns = {"session_id": ["a", "a", "b"], "start": [0.0, 4.0, 10.0], "end": [2.0, 10.0, 11.0]}
    pq.write_table(pa.table(columns), tmp_path / "manifests" / "train.parquet")
    sizes = split_sizes(layout, plan.throughput.corpus)
    train, dev = sizes["train"], sizes["dev"]
    assert (train.utterances, train.mean_s, train.max_duration_s, train.source) == (3, 3.0, 6.0, "from its manifest")
    assert train.recordings_h * 3600 == 10.0 + 11.0
    # The demo corpus to come: its sessions of each of the 15 groups.
    demo = config.corpus.demo
    assert (dev.source, dev.utterances) == ("to be generated", 15 * demo.dev_sessions * demo.turns_per_session)
    text = as_text(replace(plan, splits=sizes))
    assert "3 utterances, 0.0 h, 3.00 s on average, 6.0 s at most (from its manifest)" in text


def test_the_command_ends_with_1_where_something_does_not_fit(
    config: Any, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def made(config: Any, **options: Any) -> Plan:
        asked.append((config.preset, options))
        small = plan.gpu.model_copy(update={"memory_gib": 0.002, "reserved_gib": 0.0})
        return replace(plan, gpu=small) if options["gpu"] == "small" else plan

    monkeypatch.setattr("mlcslm.plan.plan.make_plan", made)
    app = typer.Typer()
    cli.register(app)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_defaults=True)), encoding="utf-8")
    run = CliRunner().invoke(app, ["--config", str(file), "--format", "json"], catch_exceptions=False)
    assert run.exit_code == 0
    assert json.loads(run.stdout)["gpu"]["name"] == "NVIDIA H100 SXM, 80 GB"
    run = CliRunner().invoke(app, ["--config", str(file), "--gpu", "small", "--encoder", "e"], catch_exceptions=False)
    assert run.exit_code == 1
    assert "NO" in run.stdout
    usual = {"throughput": Path("config/throughput.yaml"), "language_model": None}
    assert asked[0] == (config.preset, usual | {"gpu": None, "encoder": None})
    assert asked[1] == (config.preset, usual | {"gpu": "small", "encoder": "e"})


def test_a_corpus_without_manifests_is_read_or_said_to_be_unknown(
    plan: Plan, make_config: Callable[..., Any], tmp_path: Path
) -> None:
    for split in ("train", "dev"):
        folder = tmp_path / split / "French"
        folder.mkdir(parents=True)
        for session in range(3):
            (folder / f"{session}.txt").write_text("0.0\t2.0\tO1\toui\n3.0\t9.0\tO2\tnon\n", encoding="utf-8")
            (folder / f"{session}.wav").touch()
    folders = {split: str(tmp_path / split) for split in ("train", "dev", "test")}
    corpus = {"kind": "folder", "folders": folders}
    config = make_config({"a": {"steps": 1}}, corpus=corpus, results=str(tmp_path / "results"))
    sizes = split_sizes(Layout(config), plan.throughput.corpus)
    train = sizes["train"]
    assert (train.utterances, train.mean_s, train.max_duration_s, train.source) == (6, 4.0, 6.0, "from its transcripts")
    assert train.recordings_h * 3600 == pytest.approx(27.0)
    assert sizes["test"].source == "assumed"
    assert "found no test split yet, so MLC-SLM's size is assumed" in as_text(replace(plan, splits=sizes))
    assert "is assumed" not in as_text(plan)  # whose corpus will be generated


def test_a_folder_of_recordings_is_as_large_as_they_are(
    plan: Plan, make_config: Callable[..., Any], tmp_path: Path
) -> None:
    """With transcripts beside them: as if somebody always spoke. A Kaldi folder has its segments."""
    mean = plan.throughput.corpus.mean_s
    for split, lengths in (("train", [10 * mean, 20 * mean]), ("dev", [0.5 * mean])):
        (tmp_path / split / "calls").mkdir(parents=True)
        for number, seconds in enumerate(lengths):
            path = tmp_path / split / "calls" / f"{number}.wav"
            soundfile.write(path, np.zeros(round(8000 * seconds)), 8000)
            path.with_suffix(".srt").touch()
    (tmp_path / "train" / "calls" / "broken.wav").write_bytes(b"?")
    (tmp_path / "test").mkdir()
    for name, content in {
        "wav.scp": "French_1 1.wav\n",
        "segments": "French-1-a French_1 1.0 3.0\nFrench-1-b French_1 5.0 9.0\n",
        "utt2spk": "French-1-a a\nFrench-1-b b\n",
    }.items():
        (tmp_path / "test" / name).write_text(content)
    folders = {split: str(tmp_path / split) for split in ("train", "dev", "test")}
    corpus = {"kind": "folder", "folders": folders, "language": "fr"}
    config = make_config({"a": {"steps": 1}}, corpus=corpus, results=str(tmp_path / "results"))
    sizes = split_sizes(Layout(config), plan.throughput.corpus)
    assert sizes["train"].source == sizes["dev"].source == "from its recordings"
    assert sizes["train"].utterances == pytest.approx(30 * 3 / 2)  # the one that cannot be read counts like the others
    assert sizes["train"].mean_s == pytest.approx(mean, rel=1e-3)
    assert (sizes["dev"].utterances, sizes["dev"].mean_s) == (1, pytest.approx(0.5 * mean, rel=1e-3))
    test = sizes["test"]
    assert (test.utterances, test.mean_s, test.max_duration_s) == (2, 3.0, 4.0)
    assert test.recordings_h * 3600 == pytest.approx(9.0)


def test_several_gpus_copy_gradients(plan: Plan) -> None:
    """DistributedDataParallel adds them up in buckets of its own. Answers to sample are shared."""
    for stage in plan.stages:
        more = stage.shared_bytes - stage.peak_bytes
        sampling = stage.memory.get("sampling beyond", 0)
        assert 4 * stage.trainable - sampling <= more <= 4 * stage.trainable
    first = plan.stages[0]
    between = (first.peak_bytes + first.shared_bytes) / 2 / GIB
    gpu = plan.gpu.model_copy(update={"memory_gib": between, "reserved_gib": 0.0})
    lines = [line for line in as_text(replace(plan, gpu=gpu)).splitlines() if line.lstrip().startswith(first.name)]
    assert lines[0].endswith("one GPU")


def test_decoding_from_the_cache_encodes_nothing(config: Any, plan: Plan) -> None:
    layout = Layout(config, whole=True)
    meter = Meter(plan.shapes, config.models)
    works = Works(layout, meter, plan.throughput, plan.splits)
    name = next(iter(config.decodings))
    checkpoint = next(iter(config.stages))
    assert not works.decoding(checkpoint, name).cached  # the configuration has no cache
    cached, computed = (works.decoding(checkpoint, name, cached=value) for value in (True, False))
    assert cached.memory["activations"] <= computed.memory["activations"]
    assert cached.utterances_per_second > computed.utterances_per_second


def test_faults_of_the_throughput_table_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such throughput table"):
        read_throughput(tmp_path / "nowhere.yaml")
    with pytest.raises(FaultyInput, match=r"gpu is 'b200'; expected one of h100-80gb"):
        read_throughput(TABLE, "b200")
    values = yaml.safe_load(TABLE.read_text("utf-8"))
    values["gpus"]["h100-80gb"]["shares"]["training"] = 1.5
    del values["corpus"]
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(FaultyInput, match=r"(?s)2 fault.*gpus\.h100-80gb\.shares\.training.*corpus"):
        read_throughput(tmp_path / "table.yaml")
    (tmp_path / "table.yaml").write_text("- 1\n", encoding="utf-8")
    with pytest.raises(UserError, match="found list, expected a mapping"):
        read_throughput(tmp_path / "table.yaml")


@pytest.mark.parametrize("preset", ["demo", "small", "paper"])
def test_the_recommended_recipe_of_each_preset_is_planned(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All its rows, with the jobs of the CTC head, which reads the outputs of the encoder that the control has."""
    monkeypatch.chdir(REPOSITORY)
    files = [f"config/{preset}.yaml", f"config/controls/{preset}.yaml", f"config/recipes/{preset}.yaml"]
    config = read_config_files(list(map(Path, files)))
    config = config.model_copy(update={"diarizers": {}})
    layout = Layout(config, whole=True)
    needed = needed_for_tables(layout, ["table8"])
    encoder = config.encoder_of("control-10000")
    assert encoder in needed.ctc_heads and (encoder, "train") in needed.cached
    jobs = job_counts(layout, needed)
    assert jobs["train_ctc_head"] == len(needed.ctc_heads)
    ours, control = config.recipes["ctc"], config.recipes["beam"]
    assert ours.control == "beam" and ours.checkpoint == control.checkpoint == "control-10000"
    chosen = config.decodings[ours.decoding].consensus
    assert chosen is not None and chosen.candidates == config.decodings[control.decoding].beams == 8
    stages = [config.stages[name] for name in ("control-9000", "control-10000", "ckpt-9000", "ckpt-10000")]
    assert stages[0].steps + stages[1].steps == stages[2].steps + stages[3].steps
    made = make_plan(config)
    planned = {(one.checkpoint, one.decoding) for one in made.decodings}
    assert planned >= {(one.checkpoint, one.decoding) for one in config.recipes.values()}
    assert all(one.peak_bytes < made.gpu.usable_bytes for one in made.decodings)


def test_a_first_pass_costs_prompt_tokens_and_the_heads_of_all_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    files = ["demo", "controls/demo", "recipes/demo", "recipes/demo-first-pass"]
    config = read_config_files([Path(f"config/{name}.yaml") for name in files])
    layout = Layout(config.model_copy(update={"diarizers": {}}), whole=True)
    needed = needed_for_tables(layout, ["table8"])
    jobs = job_counts(layout, needed)
    assert needed.first_passes == ("ckpt-7000",) and (jobs["train_ctc_fold_head"], jobs["first_pass"]) == (2, 1)
    stage, table = config.stages["first-pass-10000"], read_throughput(TABLE)
    meter = Meter(read_shapes(config.models.encoder, config.models.language_model, config.languages), config.models)
    train = SplitSize(100, 4.0, 9.0, 0.1, source="assumed")
    planner = Planner(config, meter, table.text, train, table.gpus[table.gpu])
    tokens = [
        planner.prompt_tokens(stage.model_copy(update=changes), 4.0)
        for changes in ({"first_pass": ()}, {}, {"context": 2})
    ]
    line = 4.0 * table.text.tokens_a_second
    assert [one - tokens[0] for one in tokens] == [0, round(line), round(3 * line)]
    assert stage.steps <= config.stages["control-9000"].steps + config.stages["control-10000"].steps


def test_choosing_costs_the_folds_and_their_answers_and_its_control_as_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    files = ["demo", "controls/demo", "recipes/demo", "recipes/demo-choose"]
    config = read_config_files([Path(f"config/{name}.yaml") for name in files])
    config = config.model_copy(update={"diarizers": {}})
    layout = Layout(config, whole=True)
    needed = needed_for_tables(layout, ["table8"])
    jobs = job_counts(layout, needed)
    assert needed.folds == (("control-fold-0", "greedy"), ("control-fold-1", "greedy"))
    assert {"control-fold-0", "control-fold-1"} <= set(needed.checkpoints)
    assert {(f"{name}-10200", "greedy", "test") for name in ("corrected", "choose")} <= set(needed.systems)
    assert (jobs["decode_fold"], jobs["train_ctc_fold_head"], jobs["first_pass"]) == (2, 2, 1)
    made = make_plan(config)
    assert made.gpu_hours["decode_fold"] == pytest.approx(made.gpu_hours["decode_training_set"])
    write_stage_costs(layout, layout.recipe_stages(), tmp_path / "costs.parquet")
    costs = {row["checkpoint"]: row["flop"] for row in pq.read_table(tmp_path / "costs.parquet").to_pylist()}
    folds = costs["control-fold-0"] + costs["control-fold-1"]
    assert costs["choose-10200"] > costs["corrected-10200"] > folds
    assert costs["control-11200"] == pytest.approx(costs["choose-10200"], rel=0.05)


def test_every_stage_of_the_paper_fits_the_documented_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    config, table = read_config("config/paper.yaml"), read_throughput(TABLE)
    meter = Meter(read_shapes(config.models.encoder, config.models.language_model, config.languages), config.models)
    assert meter.sizes["projector"] == 18_160_384
    longest = 30.0  # on average too: what hours would take is not asked, and costs a run each
    train = SplitSize(1_000_000, longest, longest, 1500, source="assumed")
    gpu = table.gpus[table.gpu]
    planner = Planner(config, meter, table.text, train, gpu)
    plans = [planner(name) for name in config.stages]
    assert {plan.name: plan.peak_bytes / GIB for plan in plans if plan.peak_bytes > gpu.usable_bytes} == {}
    assert all(plan.peak_bytes > 18 * GIB for plan in plans)
