"""How far a run is, from what jobs leave on disk: made by hand here, by a real training in one test."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlcslm.cli.status import status
from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding import generation
from mlcslm.decoding.generation import DecodingPaths
from mlcslm.errors import UserError
from mlcslm.io.files import write_json
from mlcslm.runtime.job_log import logged
from mlcslm.status import run
from mlcslm.status.run import needed_stages, read_status
from mlcslm.status.traces import Trace, decoding_trace, is_held, log_trace, training_trace
from mlcslm.workflow.layout import Layout


@pytest.fixture
def layout(make_config, tmp_path: Path) -> Layout:
    """Stages of Table 6's first rows, of which nothing has been made, and one that no table asks for."""
    common = {"steps": 40}
    stages = {
        "baseline-1": common,
        "baseline-2": common | {"parent": "baseline-1"},
        "ckpt-2000": common,
        "ckpt-4000": common | {"parent": "ckpt-2000"},
        "unused": common,
    }
    return Layout(make_config(stages, results=str(tmp_path / "results")))


def trace_of(layout: Layout, name: str) -> Trace:
    return {part.name: part.trace for part in read_status(layout)}[name]


def log(work: Path, *steps: int, pace: float = 2.0) -> Path:
    """A training log with a row for each step; returns its folder."""
    folder = work / "0123456789abcdef"
    folder.mkdir(parents=True)
    rows = [{"step": step, "loss": 1.0, "seconds": pace * step} for step in steps]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder.with_suffix(".lock").touch()
    return folder


def hold(path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def test_of_nothing_everything_is_to_do(layout: Layout) -> None:
    parts = read_status(layout)
    assert {part.trace.state for part in parts} == {"to do"}
    names = [part.name for part in parts]
    assert [name for name in names if name in layout.config.stages] == [
        "baseline-1",
        "baseline-2",
        "ckpt-2000",
        "ckpt-4000",
    ]
    assert "ckpt-4000/greedy on test" in names and "table6" in names
    assert not layout.root.exists()


def test_needed_are_what_tables_measure_and_what_that_comes_from(layout: Layout) -> None:
    assert needed_stages(layout) == set(layout.config.stages) - {"unused"}


def test_a_training_that_runs_tells_its_step_and_the_time_left(layout: Layout) -> None:
    folder = log(layout.root / "work" / "ckpt-2000", *range(1, 11))
    with hold(folder.with_suffix(".lock")):
        assert trace_of(layout, "ckpt-2000") == Trace("running", 10, 40, seconds_left=30 * 2.0)
    assert trace_of(layout, "ckpt-2000") == Trace("stopped", 10, 40)


def test_the_pace_is_that_of_the_last_steps(tmp_path: Path) -> None:
    """After a resume on a faster machine, say."""
    folder = log(tmp_path, *range(1, 101), pace=100)
    last = [{"step": 100 + step, "seconds": 10_000 + 3.0 * step} for step in range(1, 51)]
    with (folder / "log.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in last) + '{"step": 151, "sec')  # being written
    with hold(folder.with_suffix(".lock")):
        assert training_trace(tmp_path, 200) == Trace("running", 150, 200, pytest.approx(50 * 3.0))


def test_a_training_that_has_just_begun_has_no_pace(tmp_path: Path) -> None:
    with hold(tmp_path / "a.lock"):
        assert training_trace(tmp_path, 40) == Trace("running", 0, 40)


def test_asking_does_not_disturb_who_wants_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    lock.touch()
    assert not is_held(lock)
    with hold(lock):
        assert is_held(lock)
    assert not is_held(tmp_path / "none.lock")


@pytest.mark.slow
def test_a_real_training_is_done_and_then_outdated(make_config, train, tmp_path: Path) -> None:
    config = make_config({"ckpt-2000": {"steps": 2}}, results=str(tmp_path / "results"))
    train(config, "ckpt-2000", tmp_path / "results" / "checkpoints")
    assert trace_of(Layout(config), "ckpt-2000").state == "done"
    changed = make_config({"ckpt-2000": {"steps": 3}}, results=str(tmp_path / "results"))
    assert trace_of(Layout(changed), "ckpt-2000").state == "outdated"
    (tmp_path / "results" / "checkpoints" / "ckpt-2000" / "checkpoint.json").write_text("{")
    assert trace_of(Layout(config), "ckpt-2000").state == "outdated"


def test_a_decoding_counts_its_hypotheses_over_shards(tmp_path: Path) -> None:
    """Two of three shards: one done, of the other 4 of 10 utterances at half a second each."""
    done, begun = tmp_path / "French.parquet", tmp_path / "German.parquet"
    done.touch()
    rows = [{"checkpoint": "…"}, *({"utterance_id": str(n), "seconds": 0.5} for n in range(4))]
    (tmp_path / ".German.parquet.partial").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shards = [(done, 10), (begun, 10)]
    assert decoding_trace(shards) == Trace("stopped", 14, 20)
    with hold(tmp_path / "German.lock"):
        assert decoding_trace(shards) == Trace("running", 14, 20, 6 * 0.5)
        assert decoding_trace([*shards, (tmp_path / "Thai.parquet", 10)]) == Trace("running", 14, 30)
    assert decoding_trace([(tmp_path / "Thai.parquet", 10)]) == Trace("to do")


def test_decodings_that_wait_have_not_stopped(make_config, tmp_path: Path) -> None:
    """Of a grid: one is done and waits for its job, one is being done, one was left half done by an earlier run."""
    decodings = {name: {"max_new_tokens": number} for number, name in enumerate(("greedy", "b", "c"), start=20)}
    stages = {"ckpt-10000": {"steps": 3, "template": "tagged"}}
    config = make_config(stages, decodings=decodings, results=str(tmp_path))
    layout = Layout(config)
    systems = [("ckpt-10000", name, "dev") for name in decodings]
    layout.manifest("dev").parent.mkdir()
    pq.write_table(pa.table({"grp": ["French"] * 3}), layout.manifest("dev"))
    waiting, busy, left = (layout.pending_hypotheses(*system, "all") for system in systems)
    waiting.parent.mkdir(parents=True, exist_ok=True)
    waiting.touch()
    left.parent.mkdir(parents=True, exist_ok=True)
    left.with_name(f".{left.name}.partial").write_text('{"checkpoint": "…"}\n{"seconds": 1.0}\n')
    busy.parent.mkdir(parents=True, exist_ok=True)

    def states() -> dict[str, Trace]:
        return {part.name.split("/")[1].split()[0]: part.trace for part in run._decoding(layout)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_systems", lambda _: systems)
        with hold(busy.with_suffix(".lock")):
            found = states()
            assert (found["greedy"].state, found["b"].state) == ("done", "running")
            assert found["c"] == Trace("to do", 1, 3)
        assert states()["c"] == Trace("stopped", 1, 3)


def test_other_jobs_tell_by_their_log_how_far_they_are(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    assert log_trace(path) == Trace("to do")
    path.write_text("a message\n")
    assert log_trace(path) == Trace("running")
    path.write_text(
        "encoding:  10%|#  | 3/30 [00:20<03:00, 6.7s/it]\rencoding:  20%|##  | 6/30 [00:40<1:02:40, 6.7s/it]"
    )
    trace = log_trace(path)
    assert (trace.state, trace.done, trace.total) == ("running", 6, 30)
    assert trace.seconds_left == pytest.approx(3760, abs=5)
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))
    assert log_trace(path) == Trace("stopped", 6, 30)
    with logged(tmp_path / "silent.log"):
        os.utime(tmp_path / "silent.log", (long_ago, long_ago))
        assert log_trace(tmp_path / "silent.log") == Trace("running")
    assert log_trace(tmp_path / "silent.log").state == "stopped"


def test_a_decoding_of_the_training_set_is_never_said_to_have_stopped(layout: Layout, monkeypatch) -> None:
    out = layout.training_hypotheses("ckpt-7000", "all")
    seen = []
    monkeypatch.setattr(generation, "decode_with_all", lambda *_, **__: seen.append(decoding_trace([(out, 10)]).state))
    generation.decode_split(DecodingPaths(Path("a"), Path("b"), out), DecodingConfig(), {})
    assert seen == ["running"]
    assert decoding_trace([(out, 10)]).state == "to do"


def test_what_is_made_is_done(layout: Layout, tones: Path) -> None:
    for split in ("train", "dev", "test"):
        layout.manifest(split).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pq.read_table(tones), layout.manifest(split))
    layout.scores("ckpt-4000", "greedy", "dev").parent.mkdir(parents=True)
    layout.scores("ckpt-4000", "greedy", "dev").touch()
    write_json(layout.root / "corpus" / "corpus.json", {})
    done = [part.name for part in read_status(layout) if part.trace.state == "done"]
    assert done == [
        "demo corpus",
        "manifest of train",
        "manifest of dev",
        "manifest of test",
        "ckpt-4000/greedy on dev",
    ]


def test_the_command_lists_what_is_neither_done_nor_untouched(layout: Layout, tmp_path: Path, capsys) -> None:
    changes = tmp_path / "mine.yaml"
    changes.write_text(json.dumps({"stages": {"ckpt-2000": {"steps": 50}}}), encoding="utf-8")
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(layout.config.model_dump(mode="json")), encoding="utf-8")
    log(layout.root / "work" / "ckpt-2000", 1, 2, 3)
    status([file, changes])
    lines = capsys.readouterr().out.splitlines()
    assert "training     0 of 4 done, 3 to do" in lines
    assert "  ■ ckpt-2000  stopped, 3 of 50 steps" in lines
    assert not any("ckpt-4000" in line for line in lines)
    status([file], every=True)
    assert "  · ckpt-4000   to do" in capsys.readouterr().out.splitlines()
    status([file], as_json=True)
    found = {part["name"]: part for part in json.loads(capsys.readouterr().out)}
    assert (found["ckpt-2000"]["state"], found["ckpt-2000"]["done"], found["ckpt-2000"]["total"]) == ("stopped", 3, 40)
    status([file], results=tmp_path / "elsewhere")
    assert "training     0 of 4 done, 4 to do" in capsys.readouterr().out.splitlines()


def test_configurations_that_are_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file\. Presets are in config/"):
        status([tmp_path / "none.yaml"])
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(UserError, match="found list, expected a mapping"):
        status([tmp_path / "list.yaml"])
