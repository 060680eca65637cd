"""Stages that measure themselves: what they keep and end with, whatever interrupts them. Training remains the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.generation import DecodingPaths, decode_split
from mlcslm.errors import FaultyInput
from mlcslm.io.files import sha256
from mlcslm.model.checkpoint_file import read_checkpoint
from mlcslm.scoring.error_counts import pool
from mlcslm.scoring.wer import score_texts
from mlcslm.text.protocols import get_protocol
from mlcslm.training import selection as selection_module
from mlcslm.training.dev_slice import DevSlice, Measured, balanced_slice
from mlcslm.training.launch import launch_stage
from mlcslm.training.parts_trainer import PartsTrainer, Watch
from mlcslm.training.settings import StagePaths

STAGE = {
    "trains": ["projector", "embedding", "head", "lm_lora"],
    "template": "tagged",
    "steps": 10,
    "save_steps": 3,
    "learning_rate": 3e-3,
    "schedule": "constant_with_warmup",
    "warmup_steps": 0,
}
MEASURING = {"eval_steps": 4, "eval_utterances": 6, "eval_max_new_tokens": 12}
DROPOUT = {"lora": {"dropout": 0.2}}


class Killed(BaseException):
    pass


def weights(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in folder.glob("*.safetensors")}


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a stage's folder but its log, whose times differ."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "training_log.parquet")
    return {str(path.relative_to(folder)): sha256(path) for path in files}


def log_of(folder: Path) -> dict[str, list[Any]]:
    return pq.read_table(folder / "training_log.parquet").to_pydict()


def scripted(monkeypatch: pytest.MonkeyPatch, errors: Sequence[int]) -> None:
    """Let the states have these errors in 10 words, one after the other, by step of `MEASURING`."""

    def measure(self: DevSlice, trainer: PartsTrainer) -> Measured:
        step = trainer.state.global_step
        return Measured(step, errors[-(-step // 4)], 10, None)

    monkeypatch.setattr(DevSlice, "measure", measure)


def test_measuring_changes_nothing_but_the_log(
    make_config, train: Callable[..., Path], tmp_path: Path, tones: Path
) -> None:
    """With dropout, whose random stream would tell."""
    plain = train(make_config({"a": STAGE}, models=DROPOUT), "a", tmp_path / "plain")
    made = train(make_config({"a": STAGE | MEASURING}, models=DROPOUT), "a", tmp_path / "measured", dev=tones)
    assert weights(made) == weights(plain)
    logs = log_of(plain), log_of(made)
    assert all(logs[1][column] == logs[0][column] for column in ("step", "loss", "learning_rate"))
    rates, losses = logs[1]["dev_error_rate"], logs[1]["dev_loss"]
    assert [step for step, rate in zip(logs[1]["step"], rates, strict=True) if rate is not None] == [4, 8, 10]
    assert losses[3] > losses[9] > 0
    assert "dev_loss" not in logs[0]
    assert not (made / "kept").exists()


def test_a_state_has_the_errors_of_its_checkpoint(
    make_config, train: Callable[..., Path], tmp_path: Path, tones: Path, languages
) -> None:
    """All of dev as the slice: the last measurement is what decoding and scoring the finished checkpoint give."""
    stage = STAGE | {"steps": 60} | MEASURING | {"eval_steps": 60, "eval_utterances": 99}
    made = train(make_config({"a": stage}), "a", tmp_path, dev=tones)
    decoding = DecodingConfig(method="greedy", max_new_tokens=12, stop_loops=True)
    decode_split(DecodingPaths(made, tones, tmp_path / "heard.parquet"), decoding, languages)
    heard = pq.read_table(tmp_path / "heard.parquet").to_pydict()
    rows = pq.read_table(tones).to_pylist()
    counts = pool(
        score_texts(
            {row["utterance_id"]: row["text"] for row in rows},
            {name: text or "" for name, text in zip(heard["utterance_id"], heard["transcript"], strict=True)},
            get_protocol("mlcslm-2025"),
            {row["utterance_id"]: languages[row["grp"]] for row in rows},
        ).values()
    )
    (found,) = json.loads((made / "measured.json").read_text())["measured"]
    assert (found["errors"], found["length"]) == (counts.errors, counts.length)
    assert 0 < counts.errors < counts.length


@pytest.mark.parametrize(
    ("result", "steps"), [("last", []), ("best", [8]), ("mean_of_best", [8, 12]), ("mean_of_last", [12, 16])]
)
def test_a_stage_keeps_and_ends_with_what_it_is_told_to(
    make_config,
    train: Callable[..., Path],
    tmp_path: Path,
    tones: Path,
    monkeypatch: pytest.MonkeyPatch,
    result: str,
    steps: list[int],
) -> None:
    """At a constant rate, a stage's state after n steps is that of a stage of n steps."""
    scripted(monkeypatch, [9, 4, 2, 3, 5])
    stage = STAGE | {"steps": 16}
    made = train(
        make_config({"a": stage | MEASURING | {"keep": 2, "result": result, "mean_of": 2}}), "a", tmp_path, dev=tones
    )
    kept = sorted(path.name for path in (made / "kept").iterdir())
    assert kept == ["step-12", "step-8"]
    short = {
        step: train(make_config({"a": stage | {"steps": step}}), "a", tmp_path / str(step)) for step in {8, 12, 16}
    }
    for step in (8, 12):
        assert weights(made / "kept" / f"step-{step}") == weights(short[step])
        assert read_checkpoint(made / "kept" / f"step-{step}").name == f"a/kept/step-{step}"
    assert json.loads((made / "measured.json").read_text())["result"] == steps
    for file in weights(made):
        expected = [load_file(short[step] / file) for step in steps or [16]]
        for name, tensor in load_file(made / file).items():
            mean = torch.stack([one[name] for one in expected]).mean(0)
            torch.testing.assert_close(tensor, mean, rtol=1e-6, atol=1e-7)


MOMENTS: dict[str, tuple[Any, str, int]] = {
    "while measuring": (DevSlice, "measure", 2),
    "measured, weights not written": (selection_module, "save_file", 2),
    "weights written, not recorded": (selection_module.Selection, "_write", 3),
    "recorded, no state saved": (PartsTrainer, "_save_checkpoint", 3),
    "state saved, not marked": (Watch, "on_save", 3),
    "marked, nothing deleted": (selection_module.Selection, "on_save", 3),
    "some checkpoints kept": (selection_module, "load_file", 2),
    "at the very end": (selection_module, "write_json", 6),
}
LONGER = STAGE | {"steps": 16, "save_steps": 6} | MEASURING
LONGER |= {"keep": 2, "result": "mean_of_best", "mean_of": 2, "patience": 2}


def script_partly(patch: pytest.MonkeyPatch) -> None:
    """Let the best two states be neither the first nor the last two; their losses are real."""
    real, errors = DevSlice.measure, [9, 4, 2, 3, 2]

    def measure(self: DevSlice, trainer: PartsTrainer) -> Measured:
        found = real(self, trainer)
        return Measured(found.step, errors[-(-found.step // 4)], 10, found.loss)

    patch.setattr(DevSlice, "measure", measure)


@pytest.fixture(scope="module")
def undisturbed(make_config, train: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory, tones: Path) -> Path:
    config = make_config({"a": LONGER}, models=DROPOUT)
    with pytest.MonkeyPatch.context() as patch:
        script_partly(patch)
        return train(config, "a", tmp_path_factory.mktemp("undisturbed"), dev=tones)


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_a_stage_keeps_and_ends_with_the_same(
    make_config,
    train: Callable[..., Path],
    tmp_path: Path,
    tones: Path,
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """Killed twice in the same manner, where the second run gets there again."""
    script_partly(monkeypatch)
    config = make_config({"a": LONGER}, models=DROPOUT)
    place, name, call = MOMENTS[moment]
    kills = 0
    for _ in range(2):
        with monkeypatch.context() as patch:
            original, calls = getattr(place, name), []

            def killing(*arguments: Any, original=original, calls=calls, **options: Any) -> Any:
                calls.append(1)
                if len(calls) == call:
                    raise Killed
                return original(*arguments, **options)

            patch.setattr(place, name, killing)
            try:
                train(config, "a", tmp_path, dev=tones)
                break
            except Killed:
                kills += 1
    assert kills
    made = train(config, "a", tmp_path, dev=tones)
    assert contents(made) == contents(undisturbed)
    assert log_of(made)["dev_loss"] == log_of(undisturbed)["dev_loss"]
    assert log_of(made)["step"] == list(range(1, 17))
    assert [path.suffix for path in (tmp_path / "work" / "a").iterdir()] == [".lock"]


def test_a_stage_without_progress_ends(
    make_config, train: Callable[..., Path], tmp_path: Path, tones: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """After step 16, the second measurement no better than step 8's; a run that resumes there goes no further."""
    scripted(monkeypatch, [9, 5, 2, 2, 4, 1, 1])
    config = make_config({"a": STAGE | {"steps": 24} | MEASURING | {"patience": 2, "result": "best"}})
    with monkeypatch.context() as patch:
        patch.setattr(selection_module.Selection, "finish", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            train(config, "a", tmp_path, dev=tones)
    assert "ended after 16 of 24 steps: no error rate below that of step 8 in 2 measurements" in capsys.readouterr().err
    made = train(config, "a", tmp_path, dev=tones)
    assert log_of(made)["step"] == list(range(1, 17))
    assert "ends with the weights of step 8 (20.00%)" in capsys.readouterr().err
    short = train(make_config({"a": STAGE | {"steps": 8}}), "a", tmp_path / "short")
    assert weights(made) == weights(short)


def test_a_collapse_ends_reinforcement_at_its_best_state(
    make_config, train: Callable[..., Path], tmp_path: Path, tones: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """No answer of this parent is well formed, so that two steps are a collapse; it is its own best state."""
    scripted(monkeypatch, [3, 5, 6])
    stage = {"kind": "reinforcement", "parent": "taught", "trains": ["projector", "lm_lora"], "template": "tagged"}
    stage |= {"rewards": ["errors"], "steps": 9, "rollouts": 2, "beam_rollouts": 0, "max_new_tokens": 6}
    stage |= {"temperature": 1.0, "kl_weight": 0, "batch_size": 2, "learning_rate": 1e-2, "warmup_steps": 0}
    stage |= MEASURING | {"eval_steps": 1, "collapse": {"format_below": 0.9, "steps": 2, "stop": True}}
    config = make_config({"taught": STAGE | {"steps": 2}, "a": stage})
    parent = train(config, "taught", tmp_path)
    made = train(config, "a", tmp_path, dev=tones)
    output = capsys.readouterr().err
    assert "a: ended after 2 of 9 steps: its answers have lost their form" in output
    assert log_of(made)["collapsed"] == [0, 1]
    files = ("projector.safetensors", "lm_lora.safetensors")
    assert {file: weights(made)[file] for file in files} == {file: weights(parent)[file] for file in files}
    assert json.loads((made / "measured.json").read_text())["result"] == [0]


@pytest.mark.usefixtures("forked_processes")
def test_two_processes_measure_what_one_does(
    make_config, train: Callable[..., Path], tmp_path: Path, tones: Path
) -> None:
    """Each its share of the slice; both know the sum, so they end together."""
    stage = STAGE | {"steps": 12, "batch_size": 3, "accumulation": 2} | MEASURING
    config = make_config({"a": stage | {"eval_steps": 2, "eval_utterances": 7, "patience": 1, "result": "best"}})
    one = train(config, "a", tmp_path / "one", dev=tones)
    root = tmp_path / "two"
    launch_stage("a", config, StagePaths(root / "a", root / "work" / "a", tones, dev=tones), processes=2)
    found = [json.loads((folder / "measured.json").read_text()) for folder in (one, root / "a")]
    assert found[1]["stopped"] == found[0]["stopped"] and found[0]["stopped"] is not None
    rows = [[(row["step"], row["errors"], row["length"]) for row in of["measured"]] for of in found]
    assert rows[1] == rows[0]
    losses = [[row["loss"] for row in of["measured"]] for of in found]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


def test_a_slice_has_as_many_of_each_group_as_possible() -> None:
    rows = [{"grp": grp, "utterance_id": f"{grp}{i}"} for i in range(9) for grp in "abc" if grp != "b" or i < 2]
    for size in range(1, 30):
        chosen = balanced_slice(rows, size, seed=3)
        counts = {grp: sum(row["grp"] == grp for row in chosen) for grp in "abc"}
        assert sum(counts.values()) == min(size, len(rows))
        assert counts["b"] == min(2, -(-max(0, size - 1) // 3), counts["b"])
        assert abs(counts["a"] - counts["c"]) <= 1
        assert chosen == [row for row in rows if row in chosen]
    assert balanced_slice(rows, 6, seed=3) == balanced_slice(rows, 6, seed=3)
    assert any(balanced_slice(rows, 6, seed=seed) != balanced_slice(rows, 6, seed=3) for seed in range(3))
    other = [row for row in rows if row["grp"] != "c"]
    of_a = [
        [row for row in balanced_slice(some, size, 3) if row["grp"] == "a"] for some, size in ((rows, 6), (other, 4))
    ]
    assert of_a[0] == of_a[1], "a group's utterances depend on no other group"


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"keep": 2}, "keep without eval_steps"),
        ({"patience": 2, "result": "best"}, "result and patience without eval_steps"),
        ({"eval_steps": 5, "template": "diarized"}, "eval_steps with template 'diarized'"),
    ],
)
def test_what_cannot_be_measured_is_refused(make_config, values: dict[str, Any], fault: str) -> None:
    with pytest.raises(FaultyInput, match=fault):
        make_config({"a": {"steps": 1} | values})


def test_a_collapse_needs_measured_states_to_return_to(make_config) -> None:
    stage = {"kind": "reinforcement", "parent": "b", "rewards": ["errors"], "template": "tagged", "steps": 1}
    with pytest.raises(FaultyInput, match=r"collapse\.stop without eval_steps"):
        make_config({"b": {"steps": 1}, "a": stage | {"collapse": {"stop": True}}})


def test_keys_that_are_off_are_not_part_of_a_recipe(make_config) -> None:
    """So that checkpoints from before they existed remain up to date."""
    config = make_config({"a": {"steps": 1}, "b": {"steps": 1} | MEASURING})
    off, on = (config.stages[name].model_dump(mode="json") for name in "ab")
    assert set(on) - set(off) == set(MEASURING)
    assert make_config({"b": on}).stages["b"] == config.stages["b"]
