"""Losses on sampled answers, and what is learnt from, against sums written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_rollouts import first_batch, micro_batches, plain_log_probs, rows_of

from mlcslm.config.stages import ReinforcementConfig
from mlcslm.training.grpo import RolloutTrainer, expected_rewards
from mlcslm.training.reinforcement import penalty_function, reward_function
from mlcslm.training.rollouts import reserves
from mlcslm.training.telemetry import Telemetry

WITHOUT_ENCODER = ["projector", "embedding", "head", "lm_lora"]
PLAIN = {"template": "tagged-own-language", "kl_weight": 0, "beam_rollouts": 0, "temperature": 1.0}


def by_utterance(rows: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["audio_rows"].item(), []).append(row)
    return groups


def ids_of(row: dict[str, Any]) -> list[int]:
    return row["completion_ids"][row["completion_mask"].bool()].tolist()


def log_probs_of(trainer: RolloutTrainer, row: dict[str, Any]) -> torch.Tensor:
    key = first_batch(trainer)[:: trainer.num_generations][row["audio_rows"]]["key"]
    return plain_log_probs(trainer, row, trainer.utterances.prompt(key))


def assert_gradients_agree(trainer: RolloutTrainer, loss: torch.Tensor, by_hand: torch.Tensor) -> None:
    parameters = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    gradients = (torch.autograd.grad(scalar, parameters) for scalar in (loss, by_hand))
    largest = 0.0
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-3)
        largest = max(largest, wanted.abs().max().item())
    assert largest > 1e-3


def test_expected_rewards_and_their_slopes() -> None:
    """Two groups of four; in the second, two answers are equal. Against automatic differentiation."""
    scores = torch.tensor([-1.0, -2.5, -0.3, -4.0, -2.0, -1.5, -2.0, -3.0], dtype=torch.float64, requires_grad=True)
    rewards = torch.tensor([1.0, 0.5, -2.0, 0.0, 1.0, 0.25, 1.0, -0.5], dtype=torch.float64)
    answers = ["a", "b", "c", "d", "e", "f", "e", "g"]
    shares, slopes = expected_rewards(scores.detach(), rewards, answers, 4)
    first = (scores[:4].softmax(0) * rewards[:4]).sum()
    second = (scores[4:][[0, 1, 3]].softmax(0) * rewards[4:][[0, 1, 3]]).sum()
    assert (shares * rewards).view(2, 4).sum(1).tolist() == pytest.approx([first.item(), second.item()], abs=1e-6)
    assert shares[4] == shares[6]
    (gradient,) = torch.autograd.grad(first + second, scores)
    wanted = gradient.clone()
    wanted[4] = wanted[6] = gradient[4] / 2  # equal answers are one in the reference
    torch.testing.assert_close(slopes, wanted, atol=1e-6, rtol=0)
    assert slopes.view(2, 4).sum(1).tolist() == pytest.approx([0, 0], abs=1e-9)


@pytest.mark.slow
def test_mwer_is_the_expected_reward_of_the_distinct_answers_and_some_cross_entropy(
    make_trainer: Callable[..., RolloutTrainer],
) -> None:
    trainer = make_trainer(
        **PLAIN, loss="mwer", cross_entropy_weight=0.2, accumulation=2, trains=WITHOUT_ENCODER, max_new_tokens=2
    )
    batches = micro_batches(trainer)
    groups = by_utterance(rows_of(batches))
    assert sorted(groups) == list(range(6))
    assert {len(group) for group in groups.values()} == {4}
    keys = [row["key"] for row in first_batch(trainer)[::4]]
    expectations, references = [], []
    for utterance, group in sorted(groups.items()):
        distinct = {tuple(ids_of(row)): row for row in group}
        scores = torch.stack([log_probs_of(trainer, row).sum() for row in distinct.values()])
        rewards = torch.tensor(
            [sum(i % 2 for i in ids) / len(ids) * 0.8 + 0.5 / len(set(ids)) for ids in distinct], dtype=torch.float32
        )
        expectations.append((scores.softmax(0) * rewards).sum())
        example = trainer.utterances.prompt(keys[utterance])
        row = trainer.utterances.rows[keys[utterance][1]]
        target = trainer.processor.encode_target(row["grp"], "tagged-own-language", row["text"])
        prompt = example["input_ids"]
        batch = trainer.processor.collate([example | {"input_ids": prompt + target}])
        logits = trainer.model.eval()(**batch).logits[0, len(prompt) - 1 : -1]
        references += list(logits.log_softmax(-1)[torch.arange(len(target)), target])
    by_hand = -torch.stack(expectations).mean() - 0.2 * torch.stack(references).mean()
    trainer.model.train()
    losses = []
    for number, batch in enumerate(batches):
        trainer._step = number
        losses.append(trainer._compute_loss(trainer.model, batch))
    loss = torch.stack(losses).sum()
    assert loss.item() == pytest.approx(by_hand.item(), abs=1e-5)
    assert_gradients_agree(trainer, loss, by_hand)
    expected = trainer._metrics["train"]["expected_reward"]
    assert expected == [pytest.approx(torch.stack(expectations).mean().item(), abs=1e-6)]


@pytest.mark.slow
def test_grpo_divides_by_spread_and_length(make_trainer: Callable[..., RolloutTrainer]) -> None:
    trainer = make_trainer(**PLAIN, loss="grpo", accumulation=2, trains=WITHOUT_ENCODER)
    batches = micro_batches(trainer)
    by_hand = torch.zeros(())
    for group in by_utterance(rows_of(batches)).values():
        ids = [ids_of(row) for row in group]
        rewards = torch.tensor([sum(i % 2 for i in one) / len(one) * 0.8 + 0.5 / len(set(one)) for one in ids])
        advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        assert [row["advantages"].item() for row in group] == pytest.approx(advantages.tolist(), abs=1e-5)
        for row, advantage in zip(group, advantages, strict=True):
            log_probs = log_probs_of(trainer, row)
            by_hand = by_hand - advantage * (log_probs - log_probs.detach()).exp().mean() / 24
    trainer.model.train()
    loss = torch.stack([trainer._compute_loss(trainer.model, batch) for batch in batches]).sum()
    assert loss.item() == pytest.approx(by_hand.item(), abs=1e-6)
    assert_gradients_agree(trainer, loss, by_hand)


@pytest.mark.slow
def test_without_a_kl_weight_no_parent_is_kept_or_run(make_trainer: Callable[..., RolloutTrainer]) -> None:
    trainer = make_trainer(**PLAIN, trains=WITHOUT_ENCODER)
    assert trainer.ref_model is None
    (batch,) = micro_batches(trainer)
    assert "ref_per_token_logps" not in batch
    trainer._compute_loss(trainer.model, batch)
    assert "kl" not in trainer._metrics["train"]
    assert "kl" not in Telemetry(trainer.stage, "a").sources
    assert "kl" in Telemetry(trainer.stage.model_copy(update={"kl_weight": 0.1}), "a").sources


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [0, 1, 4])
def test_utterances_without_spread_are_replaced(make_trainer: Callable[..., RolloutTrainer], rounds: int) -> None:
    """Answers to every other utterance all earn the same. Six of 24 are drawn; each round replaces those that do."""

    def rewards(completion_ids: list[list[int]], key: list[tuple[int, int]], **_: Any) -> list[float]:
        return [
            float(len(ids) + ids[0]) if index % 2 else 1.0 for ids, (_, index) in zip(completion_ids, key, strict=True)
        ]

    trainer = make_trainer(
        **PLAIN, rewards={"accuracy": rewards}, accumulation=2, trains=WITHOUT_ENCODER, replacement_rounds=rounds
    )
    drawn = [row["key"] for row in first_batch(trainer)[::4]]
    batches = micro_batches(trainer)
    rest = list(reserves(24, drawn, (trainer.args.seed, 0)))
    assert len(rest) == len({*rest, *drawn}) - 6 == 18
    assert list(reserves(24, drawn[::-1], (trainer.args.seed, 0))) == rest
    expected, replaced = list(drawn), 0
    for _ in range(rounds):
        flat = [place for place, (_, index) in enumerate(expected) if index % 2 == 0]
        for place in flat:
            expected[place] = rest[replaced]
            replaced += 1
    assert any(index % 2 == 0 for _, index in drawn)
    groups = by_utterance(rows_of(batches))
    spreads = [max(row["advantages"].abs().item() for row in groups[place]) > 0 for place in range(6)]
    assert spreads == [index % 2 == 1 for _, index in expected]
    if rounds:
        assert trainer._metrics["train"]["replaced_share"] == [pytest.approx(replaced / 6)]
    with torch.no_grad():
        for place, group in groups.items():
            example = trainer.utterances.prompt(expected[place])
            found = plain_log_probs(trainer, group[0], example)  # asserts that the prompts agree
            assert len(found) == len(ids_of(group[0]))


def test_loops_and_the_limit_are_penalised() -> None:
    answers = [[7, 8, 9, 2], [7, 8] * 12 + [2], [7, 8, 9], [7, 8] * 12]
    assert penalty_function("loop", 2)(completion_ids=answers) == [0, 1, 0, 1]
    assert penalty_function("limit", 2)(completion_ids=answers) == [0, 0, 1, 1]


@pytest.mark.slow
def test_penalties_are_subtracted(make_trainer: Callable[..., RolloutTrainer]) -> None:
    values = {"rewards": ["error_rate"], "penalties": {"limit": 0.75, "loop": 2.0}, "max_new_tokens": 4}
    stage = make_trainer(**PLAIN, **{name: value for name, value in values.items() if name != "rewards"}).stage
    assert stage.penalties == {"limit": 0.75, "loop": 2.0}
    sources = Telemetry(stage, "a").sources
    assert sources["limit_share"] == "rewards/limit/mean"
    end = 1
    functions = {
        "accuracy": lambda completion_ids, **_: [0.5 for _ in completion_ids],
        "limit": penalty_function("limit", end),
        "loop": penalty_function("loop", end),
    }
    trainer = make_trainer(**PLAIN, **values | {"rewards": functions}, trains=WITHOUT_ENCODER)
    (batch,) = micro_batches(trainer)
    ended = [ids_of(row)[-1] == trainer.processor.end_token_id for row in rows_of([batch])]
    expected = sum(0.4 - 0.75 * (not one) for one in ended) / len(ended)
    assert trainer._metrics["train"]["reward"] == [pytest.approx(expected)]


def test_rewards_of_a_plain_template() -> None:
    stage = ReinforcementConfig(
        **{"kind": "reinforcement", "parent": "a", "trains": ["lm_lora"], "steps": 1, "rewards": ["error_rate"]},
        template="tagged-own-language",
    )
    rows = {
        "raw": ["<LANG_EN> <transcribe> i make tea </transcribe>", "<LANG_FR> <transcribe> tea tea tea tea tea tea"],
        "reference": ["i make tea"] * 2,
        "unit": ["word"] * 2,
        "language": ["<LANG_EN>"] * 2,
        "utterance_id": ["a", "b"],
    }
    assert reward_function("error_rate", stage)(**rows) == pytest.approx([1, 1 - 5 / 3])
    assert reward_function("format", stage)(**rows) == [1, 0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"template": "plain", "rewards": ["format", "correction"]}, "rewards correction with template 'plain'"),
        ({"loss": "mwer", "rewards": ["errors"]}, "set cross_entropy_weight: 0"),
        ({"rewards": ["errors"], "penalties": {"loop": -1}}, "greater than or equal to 0"),
        ({"rewards": ["errors"], "penalties": {"silence": 1}}, "'loop' or 'limit'"),
        ({"rewards": ["errors"], "kl_weight": -0.1}, "greater than or equal to 0"),
        ({"rewards": ["errors"], "trains": ["new_rows"]}, "new_rows, which reinforcement cannot train"),
        ({"rewards": ["errors"], "trains": ["new_rows", "head"]}, "new_rows, rows of embedding and head, and head"),
    ],
)
def test_what_does_not_fit_together_is_refused(values: dict[str, Any], expected: str) -> None:
    usual = {"kind": "reinforcement", "parent": "a", "trains": ["lm_lora"], "steps": 1}
    with pytest.raises(ValueError, match=expected):
        ReinforcementConfig(**usual | values)
