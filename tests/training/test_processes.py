"""The number of processes is no part of the result: 1, 2 and 4 learn from the same utterances, and the same answers."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

PATIENCE_S = 300  # for a loaded machine
ALL = ["projector", "embedding", "head", "lm_lora", "encoder_lora"]
COMMON = {"trains": ALL, "steps": 3, "batch_size": 3, "accumulation": 4, "learning_rate": 1e-3, "warmup_steps": 0}
# Adam divides by the gradient's magnitude, which for some weights is rounding alone.
COMMON |= {"part_epsilons": dict.fromkeys(ALL, 1e-4)}
SAMPLED = {"max_new_tokens": 6, "rollouts": 4, "beam_rollouts": 0, "temperature": 1.0, "replacement_rounds": 2}
STAGES = {
    "supervised": COMMON | {"template": "tagged"},
    "reasoning": COMMON | {"template": "reasoning", "prompt_loss_weight": {"steps": 2}},
    "muon": COMMON | {"template": "tagged", "optimizer": "muon"},
    "dr_grpo": COMMON
    | {
        "kind": "reinforcement",
        "template": "tagged-own-language",
        "rewards": ["error_rate"],
        "penalties": {"limit": 0.1},
    }
    | SAMPLED,
    "mwer": COMMON
    | {"kind": "reinforcement", "template": "plain", "rewards": ["errors"], "loss": "mwer", "kl_weight": 0}
    | SAMPLED,
}


def rewarded(raws: Sequence[str], references: Any, units: Any, names: Sequence[str], *_: Any, **__: Any) -> Any:
    """Rewards for any answer, equal ones for some utterances: these models' answers are too wrong for real ones."""
    return {names[0]: [(sum(map(ord, raw)) % 3) / 2 for raw in raws]}


def run_process(rank: int, count: int, port: int, record: Path, train: Callable[[], Any]) -> None:
    """Train as one of `count` processes; write down which answers it has sampled."""
    from accelerate.state import AcceleratorState, GradientState

    from mlcslm.training import grpo, reinforcement

    AcceleratorState._reset_state(reset_partial_state=True)  # the parent process's
    GradientState._reset_state()
    if count > 1:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()} | {"MASTER_ADDR": "localhost"})
    sampled, sample = [], grpo.roll_out

    def listen(model: Any, prompts: Any, names: Sequence[str], stage: Any, seed: Sequence[int]) -> list[list[int]]:
        answers = sample(model, prompts, names, stage, seed)
        for number, name in enumerate(names):
            sampled.append([seed[1], name, answers[number * stage.rollouts : (number + 1) * stage.rollouts]])
        return answers

    grpo.roll_out = listen
    reinforcement.reward_table = rewarded
    train()
    record.write_text(json.dumps(sampled), encoding="utf-8")


def train_with(
    count: int, train: Callable[..., Path], config: Any, name: str, root: Path, **paths: Path
) -> tuple[dict[str, torch.Tensor], list[Any], dict[str, list[Any]]]:
    """The weights, the sampled answers by step and utterance, and the log of a stage trained by `count` processes."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    records = [root / f"sampled-{rank}.json" for rank in range(count)]
    root.mkdir()

    def stage() -> Path:
        return train(config, name, root, **paths)

    processes = [
        fork.Process(target=run_process, args=(rank, count, port, records[rank], stage)) for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
    assert [process.exitcode for process in processes] == [0] * count
    weights = {
        f"{file.stem}.{key}": tensor
        for file in (root / name).glob("*.safetensors")
        for key, tensor in load_file(file).items()
    }
    sampled = sorted(answers for record in records for answers in json.loads(record.read_text(encoding="utf-8")))
    return weights, sampled, pq.read_table(root / name / "training_log.parquet").to_pydict()


@pytest.mark.parametrize("name", STAGES)
def test_one_two_and_four_processes_end_with_the_same_weights(
    make_config: Callable[..., Any], train: Callable[..., Path], reasoning: Path, tmp_path: Path, name: str
) -> None:
    config = make_config(STAGES, reasoning={"checkpoint": "supervised"})
    paths = {"reasoning": reasoning} if name == "reasoning" else {}
    (weights, sampled, log), *others = (
        train_with(count, train, config, name, tmp_path / str(count), **paths) for count in (1, 2, 4)
    )
    if name in ("dr_grpo", "mwer"):
        assert len(sampled) >= 3 * 12
        assert len({(step, utterance) for step, utterance, _ in sampled}) == len(sampled)
        assert sum(log["replaced_share"]) > 0
    for found, answers, other_log in others:
        assert answers == sampled
        for column in ("loss", "reward", "kl", "replaced_share", "zero_spread_share", "completion_length"):
            # trl logs the mean of micro-batches' KL per token, which depends a little on who shares a micro-batch.
            options = {"rel": 0.02} if column == "kl" else {"abs": 2e-6}
            assert other_log.get(column) == (pytest.approx(log[column], **options) if column in log else None), column
        assert found.keys() == weights.keys()
        for key, tensor in weights.items():
            torch.testing.assert_close(found[key], tensor, atol=1e-6, rtol=0)
