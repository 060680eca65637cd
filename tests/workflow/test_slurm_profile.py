"""The profile for clusters: it names the workflow's rules, and asks for what each needs."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from snakemake_executor_plugin_slurm import ExecutorSettings, submit_string
from snakemake_executor_plugin_slurm.utils import set_gres_string

from mlcslm.config.reading import read_config

REPOSITORY = Path(__file__).parents[2]
PROFILE: dict[str, Any] = yaml.safe_load((REPOSITORY / "profiles" / "slurm" / "config.v9+.yaml").read_text("utf-8"))
LAPTOP: dict[str, Any] = yaml.safe_load((REPOSITORY / "profiles" / "default" / "config.v9+.yaml").read_text("utf-8"))
RULES = {
    name: body
    for path in (REPOSITORY / "workflow" / "rules").glob("*.smk")
    for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^rule |\Z)", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
}
# A rule made of another has its script.
for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"):
    RULES |= {
        name: RULES[of] for of, name in re.findall(r"^use rule (\w+) as (\w+) with:", path.read_text("utf-8"), re.M)
    }
# On a CPU: the demo's own small foundation models, a manifest, and the single layer of CTC heads.
ON_CPUS = "foundation|training_manifest|train_ctc"
ON_GPUS = re.compile(rf"scripts/(?!{ON_CPUS})\w*(train|decode|encode|recognize|diarize|transcribe|answer)\w*\.py")


def requests(rule: str) -> dict[str, Any]:
    return PROFILE["default-resources"] | PROFILE["set-resources"].get(rule, {})


def test_rules_of_the_profile_are_those_of_the_workflow() -> None:
    assert len(RULES) > 15
    assert set(PROFILE["set-resources"]) <= set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_asks_for_a_partition_memory_and_time(rule: str) -> None:
    requested = requests(rule)
    assert requested["slurm_partition"] in ("cpu", "gpu")
    assert requested["mem_mb"] >= 8000
    assert requested["runtime"] >= 60
    assert requested["slurm_extra"] == "'--signal=TERM@300'"


def test_rules_that_run_a_model_ask_for_gpus_and_no_other() -> None:
    scripts = {rule: re.search(r'"\.\./(scripts/\w+\.py)"', body) for rule, body in RULES.items()}
    heavy = {rule for rule, script in scripts.items() if script and ON_GPUS.fullmatch(script[1])}
    assert heavy == {rule for rule in RULES if requests(rule).get("gpu")}
    assert heavy == {rule for rule in RULES if requests(rule)["slurm_partition"] == "gpu"}


def test_stages_of_the_paper_keep_all_gpus_of_their_job_busy() -> None:
    stages = read_config(REPOSITORY / "config" / "paper.yaml").stages
    gpus = requests("train")["gpu"]
    assert [name for name, stage in stages.items() if stage.accumulation % gpus] == []


def test_what_is_changed_for_one_rule_changes_no_other() -> None:
    """YAML's anchors would carry `gres` of `train` into `diarize`, beside the `gpu: 1` that is left there."""
    text = (REPOSITORY / "profiles" / "slurm" / "config.v9+.yaml").read_text("utf-8")
    events = list(yaml.parse(text))
    assert [event for event in events if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None)] == []


def command(**requested: Any) -> str:
    """The sbatch call for a job with these requests."""
    job = SimpleNamespace(resources=Resources(requested), threads=2, is_group=lambda: False)
    params = dict.fromkeys(("run_uuid", "slurm_logfile", "comment_str", "account", "partition", "workdir"), "x")
    return str(submit_string.get_submit_command(job, params)) + str(set_gres_string(job))


class Resources(dict[str, Any]):
    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def test_what_a_site_wants_is_written_as_documented() -> None:
    """Lines of docs/slurm.md's table that are about a rule's resources, through Snakemake's plugin for SLURM."""
    page = (REPOSITORY / "docs" / "slurm.md").read_text("utf-8")
    said = {
        "gpu: 4": "--gpus=4",
        "gpu_model: a100": "--gpus=a100:4",
        'gres: "gpu:a100:4"': "--gres=gpu:a100:4",
        "constraint: a100_80gb": "-C a100_80gb",
        'constraint: "a100&nvlink"': "-C 'a100&nvlink'",
        "qos: gpu_long": "--qos=gpu_long",
        "mem_mb_per_cpu: 4000": "--mem-per-cpu 4000",
        "cpus_per_gpu: 8": "--cpus-per-gpu=8",
    }
    for written, expected in said.items():
        assert f"`{written}`" in page
        requested = yaml.safe_load(written) | ({"gpu": 4} if "gpu_model" in written or "cpus_per" in written else {})
        call = command(**requested)
        assert expected in call, call
    assert "--gpus" not in command(gres="gpu:a100:4", **{k: v for k, v in requests("train").items() if k != "gpu"})
    for option in ("slurm-qos", "slurm-reservation", "slurm-array-jobs"):
        assert f"`{option}: " in page
        assert hasattr(ExecutorSettings(), option.removeprefix("slurm-").replace("-", "_"))


def test_the_profile_keeps_what_the_default_one_sets() -> None:
    """It takes that one's place; only Snakemake's own messages stay, which name the cluster's jobs."""
    kept = {key: value for key, value in LAPTOP.items() if key != "logger"}
    assert {key: PROFILE.get(key) for key in kept} == kept
    assert LAPTOP["logger"] == ["mlcslm"] and "logger" not in PROFILE


def test_documented_requests_are_those_of_the_profile() -> None:
    page = (REPOSITORY / "docs" / "slurm.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \| (\w+) \| (\w+).*? \| (\d+) GB \| (\d+) h \|$", page, re.MULTILINE)
    told = {
        rule: (partition, 0 if gpus == "none" else int(gpus), 1000 * int(memory), 60 * int(hours))
        for rules, partition, gpus, memory, hours in rows
        for rule in re.findall(r"`(\w+)`", rules)
    }
    assert told == {
        rule: (requested["slurm_partition"], requested.get("gpu", 0), requested["mem_mb"], requested["runtime"])
        for rule, requested in ((rule, requests(rule)) for rule in PROFILE["set-resources"])
    }
