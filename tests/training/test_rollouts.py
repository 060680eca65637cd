"""The hooks into trl: each row hears its own utterance, and is scored, rewarded and learnt from correctly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from mlcslm.config.stages import ReinforcementConfig
from mlcslm.decoding.sampling import UtteranceStreams
from mlcslm.model.encoder import SpeechEncoder
from mlcslm.model.lora import merged_lora
from mlcslm.model.speech_llm import SpeechLLMModel
from mlcslm.training import grpo, rollouts
from mlcslm.training.batches import BatchPlan
from mlcslm.training.grpo import RolloutTrainer, expected_rewards
from mlcslm.training.reinforcement import penalty_function, reward_function
from mlcslm.training.rollouts import GenerationPlan, ParentModel, reserves, roll_out
from mlcslm.training.telemetry import Telemetry

pytestmark = pytest.mark.slow

WITHOUT_ENCODER = ["projector", "embedding", "head", "lm_lora"]
PLAIN = {"template": "tagged-own-language", "kl_weight": 0, "beam_rollouts": 0, "temperature": 1.0}


def first_batch(trainer: RolloutTrainer) -> list[dict[str, Any]]:
    trainer.model.train()
    return next(iter(trainer.get_train_dataloader()))


def micro_batches(trainer: RolloutTrainer) -> list[dict[str, Any]]:
    """The first step's micro-batches, as trl shuffles and buffers them."""
    trainer.current_gradient_accumulation_steps = trainer.stage.accumulation  # trl's training loop sets it
    trainer._prepare_inputs(first_batch(trainer))
    return trainer._buffered_inputs


def plain_log_probs(trainer: RolloutTrainer, row: dict[str, Any], example: dict[str, Any]) -> torch.Tensor:
    """Log-probabilities of a row's answer from a separate unpadded forward over its utterance's audio."""
    prompt = row["prompt_ids"][row["prompt_mask"].bool()]
    answer = row["completion_ids"][row["completion_mask"].bool()]
    assert prompt.tolist() == example["input_ids"]
    batch = trainer.processor.collate([example])
    batch["input_ids"] = torch.cat([prompt, answer]).unsqueeze(0)
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    logits = trainer.model.eval()(**batch).logits[0, len(prompt) - 1 : -1] / trainer.stage.temperature
    return logits.log_softmax(-1)[torch.arange(len(answer)), answer]


def rows_of(batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: batch[name][i] for name in batch if batch[name].ndim}
        for batch in batches
        for i in range(len(batch["advantages"]))
    ]


@pytest.mark.parametrize("trains", [["projector"], None], ids=["frozen-encoder", "trained-encoder"])
def test_log_probabilities_are_those_of_a_plain_forward(make_trainer: Callable[..., RolloutTrainer], trains) -> None:
    """For the reference before shuffling and the policy after it, as trl computes them."""
    trainer = make_trainer(accumulation=2, **({"trains": trains} if trains else {}))
    batches = micro_batches(trainer)
    keys = [row["key"] for row in first_batch(trainer)[:: trainer.num_generations]]
    assert len({len(trainer.utterances.prompt(key)["input_ids"]) for key in keys}) > 1, "nothing is padded"
    found = []
    for batch in batches:
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        trainer._rows = batch["audio_rows"]
        log_probs, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, batch["completion_ids"].shape[1]
        )
        found += list(log_probs.detach())
    rows = rows_of(batches)
    assert sorted(row["audio_rows"].item() for row in rows) == [u for u in range(6) for _ in range(4)]
    with torch.no_grad():
        for row, log_probs in zip(rows, found, strict=True):
            expected = plain_log_probs(trainer, row, trainer.utterances.prompt(keys[row["audio_rows"]]))
            mask = row["completion_mask"].bool()
            torch.testing.assert_close(log_probs[mask], expected, atol=2e-5, rtol=1e-5)
            torch.testing.assert_close(row["ref_per_token_logps"][mask], expected, atol=2e-5, rtol=1e-5)


def test_each_row_keeps_its_own_audio_through_shuffling(
    make_trainer: Callable[..., RolloutTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers encode which utterance they belong to; the audio that the model hears with them is checked against it."""
    trainer = make_trainer(accumulation=3, batch_size=2, trains=WITHOUT_ENCODER)
    told = iter(range(6))

    def tell(model: Any, prompts: dict[str, torch.Tensor], *_: Any) -> list[list[int]]:
        utterances = [next(told) for _ in prompts["input_ids"]]
        return [[100 + utterance, 200 + row] for utterance in utterances for row in range(4)]

    heard: list[tuple[torch.Tensor, torch.Tensor]] = []
    forward = SpeechLLMModel.forward

    def listen(self: Any, input_ids: torch.Tensor, **inputs: Any) -> Any:
        frames, mask = inputs["encoder_frames"], inputs["encoder_frames_mask"].bool()
        heard.extend((ids[-2:], frame[row]) for ids, frame, row in zip(input_ids, frames, mask, strict=True))
        return forward(self, input_ids=input_ids, **inputs)

    monkeypatch.setattr(grpo, "roll_out", tell)
    keys = [row["key"] for row in first_batch(trainer)[::4]]
    batches = micro_batches(trainer)
    monkeypatch.setattr(SpeechLLMModel, "forward", listen)
    for batch in batches:
        trainer._compute_loss(trainer.model, batch)
    answers = [ids.tolist() for ids, _ in heard]
    assert sorted(answers) == [[100 + u, 200 + row] for u in range(6) for row in range(4)]
    assert answers != sorted(answers), "not shuffled"
    for (utterance, _), (_, frames) in zip(answers, heard, strict=True):
        features = trainer.utterances.prompt(keys[utterance - 100])["input_features"]
        expected, _ = trainer.model.encode_audio(features.unsqueeze(0))
        torch.testing.assert_close(frames, expected[0], atol=1e-5, rtol=1e-5)


def test_advantages_and_loss_are_those_of_dr_grpo(make_trainer: Callable[..., RolloutTrainer]) -> None:
    """Against hand-written sums: no division by a standard deviation or a length; and the gradients that follow."""
    weights = {"accuracy": 0.8, "format": 0.25}
    trainer = make_trainer(accumulation=2, trains=WITHOUT_ENCODER, reward_weights=weights, kl_weight=0.3)
    with torch.no_grad():  # else the policy is the parent, and nothing diverges
        for parameter in trainer.ref_model._weights:
            parameter += 0.02 * torch.randn_like(parameter)
    batches = micro_batches(trainer)
    rows = rows_of(batches)
    groups: dict[int, list[float]] = {}
    for row in rows:
        ids = row["completion_ids"][row["completion_mask"].bool()].tolist()
        row["reward"] = 0.8 * sum(i % 2 for i in ids) / len(ids) + 0.25 / len(set(ids))
        groups.setdefault(row["audio_rows"].item(), []).append(row["reward"])
    assert {len(group) for group in groups.values()} == {4}
    assert max(max(group) - min(group) for group in groups.values()) > 0.05
    expected = [row["reward"] - sum(g := groups[row["audio_rows"].item()]) / len(g) for row in rows]
    assert [row["advantages"].item() for row in rows] == pytest.approx(expected, abs=1e-6)

    keys = [row["key"] for row in first_batch(trainer)[::4]]
    by_hand = torch.zeros(())
    for row, advantage in zip(rows, expected, strict=True):
        log_probs = plain_log_probs(trainer, row, trainer.utterances.prompt(keys[row["audio_rows"]]))
        parent = row["ref_per_token_logps"][row["completion_mask"].bool()]
        divergence = (parent - log_probs).exp() - (parent - log_probs) - 1
        ratio = (log_probs - log_probs.detach()).exp()
        by_hand = by_hand + (0.3 * divergence - advantage * ratio).sum() / (len(rows) * trainer.stage.max_new_tokens)
    trainer.model.train()
    loss = sum(trainer._compute_loss(trainer.model, batch) for batch in batches)
    assert loss.item() == pytest.approx(by_hand.item(), abs=1e-6)
    parameters = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    gradients = (torch.autograd.grad(scalar, parameters) for scalar in (loss, by_hand))
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-3)


def test_the_reference_stays_the_parent(make_trainer: Callable[..., RolloutTrainer]) -> None:
    """All of it: embedding, head, projector and both models' adapters move far."""
    trainer = make_trainer(learning_rate=0.02, warmup_steps=0, schedule="constant_with_warmup")
    parent = make_trainer()
    trainer.train()
    divergences = [row["kl"] for row in trainer.state.log_history if "kl" in row]
    assert divergences[0] == pytest.approx(0, abs=1e-6)
    assert divergences[1] > 1e-3
    trained = [p.detach().clone() for p in trainer.model.parameters()]
    (batch,) = micro_batches(trainer)
    assert all(torch.equal(a, b) for a, b in zip(trained, trainer.model.parameters(), strict=True))
    keys = [row["key"] for row in first_batch(trainer)[:: trainer.num_generations]]
    for row in rows_of([batch]):
        mask, example = row["completion_mask"].bool(), trainer.utterances.prompt(keys[row["audio_rows"]])
        with torch.no_grad():
            expected, moved = (plain_log_probs(t, row, example) for t in (parent, trainer))
        torch.testing.assert_close(row["ref_per_token_logps"][mask], expected, atol=2e-5, rtol=1e-5)
        assert (moved - expected).abs().max() > 0.05


def prompts_of(trainer: RolloutTrainer, count: int) -> tuple[dict[str, torch.Tensor], list[str]]:
    """A batch of the first utterances, and their ids."""
    keys = [(0, number) for number in range(count)]
    batch = trainer.processor.collate([trainer.utterances.prompt(key) for key in keys], side="left")
    return batch, [trainer.utterances[key]["utterance_id"] for key in keys]


def logits_after(trainer: RolloutTrainer, number: int, ids: list[int]) -> torch.Tensor:
    """Logits of the next token after utterance `number`'s prompt and `ids`, by a plain unpadded forward."""
    example = trainer.utterances.prompt((0, number))
    batch = trainer.processor.collate([example | {"input_ids": example["input_ids"] + ids}])
    with torch.no_grad():
        return trainer.model(**batch).logits[0, -1].double()


def test_answers_are_a_pure_function_of_the_seed(make_trainer: Callable[..., RolloutTrainer]) -> None:
    trainer = make_trainer(max_new_tokens=12, temperature=2.0)
    model, processor = trainer.model.eval(), trainer.processor
    prompts, names = prompts_of(trainer, 3)
    before = torch.get_rng_state()
    first = roll_out(model, prompts, names, trainer.stage, (17, 3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert roll_out(model, prompts, names, trainer.stage, (17, 3)) == first
    assert roll_out(model, prompts, names, trainer.stage, (17, 4)) != first
    assert len(first) == 3 * 4
    assert len({tuple(ids) for ids in first[:3]}) == 3, "three multinomial samples of one prompt"
    assert not any(processor.audio_token_id in ids for ids in first)


def test_other_utterances_of_the_batch_change_no_answer(
    make_trainer: Callable[..., RolloutTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, in another order, or in the halves of a batch that does not fit into memory."""
    trainer = make_trainer(max_new_tokens=9, temperature=1.5, rollouts=5, beam_rollouts=2, beams=3)
    model = trainer.model.eval()
    prompts, names = prompts_of(trainer, 5)
    whole = roll_out(model, prompts, names, trainer.stage, (8, 1))

    def those(rows: list[int]) -> list[list[int]]:
        some = {name: tensor[rows] for name, tensor in prompts.items()}
        return roll_out(model, some, [names[row] for row in rows], trainer.stage, (8, 1))

    def expected(rows: list[int]) -> list[list[int]]:
        return [ids for row in rows for ids in whole[5 * row : 5 * row + 5]]

    assert those([4, 2, 0]) == expected([4, 2, 0])
    assert those([1]) == expected([1])
    sizes: list[int] = []
    sample = rollouts.sample_answers

    def small_memory(model: Any, prompts: Any, names: Any, *others: Any) -> Any:
        sizes.append(len(names))
        if len(names) > 2:
            raise torch.OutOfMemoryError
        return sample(model, prompts, names, *others)

    monkeypatch.setattr(rollouts, "sample_answers", small_memory)
    assert those([0, 1, 2, 3, 4]) == whole
    assert sizes == [5, 2, 3, 1, 2]


def test_equal_noise_gives_the_answers_of_a_plain_loop(make_trainer: Callable[..., RolloutTrainer]) -> None:
    """One token at a time from whole forwards with unmerged adapters, with each answer's own noise."""
    trainer = make_trainer(max_new_tokens=7, temperature=0.8, rollouts=3, beam_rollouts=0)
    model = trainer.model.eval()
    prompts, names = prompts_of(trainer, 2)
    found = roll_out(model, prompts, names, trainer.stage, (3, 11))
    by_hand = []
    for number, name in enumerate(names):
        for answer in range(3):
            noise, ids = UtteranceStreams([f"{name}/0.{answer}"], (3, 11)), []
            while len(ids) < 7 and trainer.processor.end_token_id not in ids:
                scores = logits_after(trainer, number, ids).log_softmax(-1) / 0.8
                scores[model.generation_config.suppress_tokens] = -torch.inf
                ids.append(int((scores + noise.gumbel(len(scores))[0]).argmax()))
            by_hand.append(ids)
    assert found == by_hand


def test_tokens_are_sampled_with_the_models_own_probabilities(make_trainer: Callable[..., RolloutTrainer]) -> None:
    """Pearson's chi-square over 3,000 answers: of the first tokens, and of the second after the most frequent first."""
    trainer = make_trainer(max_new_tokens=2, temperature=0.5, rollouts=1000, beam_rollouts=0)
    model = trainer.model.eval()
    prompts, names = prompts_of(trainer, 1)
    answers = [ids for step in range(3) for ids in roll_out(model, prompts, names, trainer.stage, (1, step))]
    firsts = [ids[0] for ids in answers]
    common = max(set(firsts) - {trainer.processor.end_token_id}, key=firsts.count)
    seconds = [ids[1] for ids in answers if ids[0] == common]
    assert len(seconds) > 200
    for sampled, before in ((firsts, []), (seconds, [common])):
        logits = logits_after(trainer, 0, before)
        logits[model.generation_config.suppress_tokens] = -torch.inf
        expected = (logits / 0.5).softmax(-1).numpy() * len(sampled)
        counts = np.bincount(sampled, minlength=len(expected))
        frequent = expected >= 5
        cells = [np.append(values[frequent], values[~frequent].sum()) for values in (counts, expected)]
        assert len(cells[0]) > 3
        assert chisquare(*cells).pvalue > 1e-3


def test_merging_leaves_every_weight_as_it_was(make_trainer: Callable[..., RolloutTrainer]) -> None:
    trainer = make_trainer()
    model = trainer.model.eval()
    before = {name: (parameter.data_ptr(), parameter.detach().clone()) for name, parameter in model.named_parameters()}
    unmerged = logits_after(trainer, 0, [5])
    with pytest.raises(KeyError), merged_lora(model):
        torch.testing.assert_close(logits_after(trainer, 0, [5]), unmerged, atol=1e-4, rtol=1e-5)
        moved = [name for name, parameter in model.named_parameters() if parameter.data_ptr() != before[name][0]]
        assert len(moved) == sum("lora_A" in name for name in before)
        raise KeyError
    for name, parameter in model.named_parameters():
        assert parameter.data_ptr() == before[name][0]
        assert torch.equal(parameter, before[name][1])
    assert torch.equal(logits_after(trainer, 0, [5]), unmerged)
    attention = model.model.language_model.config._attn_implementation
    roll_out(model, *prompts_of(trainer, 1), trainer.stage, (0,))
    assert model.model.language_model.config._attn_implementation == attention
    with pytest.raises(ValueError, match="dropout"):
        roll_out(model.train(), *prompts_of(trainer, 1), trainer.stage, (0,))


def test_each_answer_is_to_its_own_prompt(make_trainer: Callable[..., RolloutTrainer]) -> None:
    """At almost zero temperature, multinomial sampling gives the greedy answer and beam sampling the best beam."""
    trainer = make_trainer(temperature=1e-6, rollouts=3, beam_rollouts=2, beams=3)
    model, processor = trainer.model.eval(), trainer.processor
    found = roll_out(model, *prompts_of(trainer, 4), trainer.stage, (0,))
    greedy = []
    for number in range(4):
        example = trainer.utterances.prompt((0, number))
        output = model.generate(**processor.collate([example]), do_sample=False, max_new_tokens=6)
        greedy.append(processor.completion(output[0, len(example["input_ids"]) :].tolist())[0])
    assert found[::3] == greedy
    assert len({tuple(ids) for ids in greedy}) > 1
    assert all(found[3 * number + 1] != found[3 * number + 2] for number in range(4)), "two beams"


@pytest.mark.parametrize(("trains", "times"), [(WITHOUT_ENCODER, 1), (None, 3)], ids=["frozen", "trained"])
def test_an_utterance_is_encoded_once_for_its_rollouts(
    make_trainer: Callable[..., RolloutTrainer], monkeypatch: pytest.MonkeyPatch, trains, times: int
) -> None:
    """If the encoder is trained: once to sample, once by the parent's encoder, once with gradients."""
    trainer = make_trainer(**({"trains": trains} if trains else {}))
    encoded, forward = [], SpeechEncoder.forward

    def count(self: Any, features: torch.Tensor, mask: torch.Tensor) -> Any:
        encoded.append(len(features))
        return forward(self, features, mask)

    monkeypatch.setattr(SpeechEncoder, "forward", count)
    (batch,) = micro_batches(trainer)
    trainer._compute_loss(trainer.model, batch).backward()
    assert sum(encoded) == times * 3
    gradients = {name for name, p in trainer.model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert gradients == {name for name, p in trainer.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_share_a_step_and_request_it_with_every_micro_batch(processes: int) -> None:
    """The same utterances however many there are, shared evenly by number and by duration."""
    from accelerate.data_loader import BatchSamplerShard

    lengths = np.random.default_rng(0).uniform(0.5, 20, 200).tolist()
    plan = BatchPlan(lengths, 16, 6, seed=0)
    sampler = GenerationPlan(plan, accumulation=4 // processes, processes=processes)
    assert len(sampler) == 6 * 4 == len(list(sampler))
    dealt = [list(BatchSamplerShard(sampler, num_processes=processes, process_index=rank)) for rank in range(processes)]
    for number, step in enumerate(plan):
        repeats = slice(number * (4 // processes), (number + 1) * (4 // processes))
        shares = [rank[repeats] for rank in dealt]
        assert all(batch == share[0] for share in shares for batch in share)
        assert {len(share[0]) for share in shares} == {16 // processes}
        assert sorted(key for share in shares for key in share[0]) == sorted(step)
        seconds = [sum(lengths[index] for _, index in share[0]) for share in shares]
        assert max(seconds) < 1.05 * min(seconds)


def test_the_parents_weights_are_swapped_in_and_out() -> None:
    model = torch.nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    parent = ParentModel(model)
    before = model.weight.detach().clone()
    with torch.no_grad():
        model.weight += 1
    with pytest.raises(KeyError), parent.in_place():
        assert torch.equal(model.weight, before)
        raise KeyError
    assert torch.equal(model.weight, before + 1)


def test_no_network_requests_are_made(make_trainer: Callable[..., RolloutTrainer], monkeypatch) -> None:
    """trl's trainers report each run to their makers."""
    from trl.trainer import base_trainer

    monkeypatch.setattr(base_trainer, "send_telemetry", lambda **_: pytest.fail("reported"))
    monkeypatch.delenv("CI", raising=False)
    trainer = make_trainer()
    assert trainer.args.report_to == []


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
    pairs = list(zip(*gradients, strict=True))
    largest = max(wanted.abs().max().item() for _, wanted in pairs)
    assert max((found - wanted).abs().max().item() for found, wanted in pairs) < 5e-6 * largest
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
    assert loss.item() == pytest.approx(by_hand.item(), abs=1e-6)
    assert_gradients_agree(trainer, loss, by_hand)
    expected = trainer._metrics["train"]["expected_reward"]
    assert expected == [pytest.approx(torch.stack(expectations).mean().item(), abs=1e-6)]


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


def test_without_a_kl_weight_no_parent_is_kept_or_run(make_trainer: Callable[..., RolloutTrainer]) -> None:
    trainer = make_trainer(**PLAIN, trains=WITHOUT_ENCODER)
    assert trainer.ref_model is None
    (batch,) = micro_batches(trainer)
    assert "ref_per_token_logps" not in batch
    trainer._compute_loss(trainer.model, batch)
    assert "kl" not in trainer._metrics["train"]
    assert "kl" not in Telemetry(trainer.stage, "a").sources
    assert "kl" in Telemetry(trainer.stage.model_copy(update={"kl_weight": 0.1}), "a").sources


@pytest.mark.parametrize("rounds", [0, 1, 4])
def test_utterances_without_spread_are_replaced(make_trainer: Callable[..., RolloutTrainer], rounds: int) -> None:
    """Answers to every third utterance all earn the same. Six of 24 are drawn; each round replaces those that do."""

    def rewards(completion_ids: list[list[int]], key: list[tuple[int, int]], **_: Any) -> list[float]:
        return [
            float(len(ids) + ids[0]) if index % 3 else 1.0 for ids, (_, index) in zip(completion_ids, key, strict=True)
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
        flat = [place for place, (_, index) in enumerate(expected) if index % 3 == 0]
        for place in flat:
            expected[place] = rest[replaced]
            replaced += 1
    assert any(index % 3 == 0 for _, index in drawn)
    groups = by_utterance(rows_of(batches))
    spreads = [max(row["advantages"].abs().item() for row in groups[place]) > 0 for place in range(6)]
    assert spreads == [index % 3 > 0 for _, index in expected]
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


def test_penalties_are_subtracted(make_trainer: Callable[..., RolloutTrainer]) -> None:
    end = 1
    functions = {
        "accuracy": lambda completion_ids, **_: [0.5 for _ in completion_ids],
        "limit": penalty_function("limit", end),
        "loop": penalty_function("loop", end),
    }
    penalties = {"limit": 0.75, "loop": 2.0}
    trainer = make_trainer(**PLAIN, rewards=functions, penalties=penalties, max_new_tokens=4, trains=WITHOUT_ENCODER)
    assert Telemetry(trainer.stage, "a").sources["limit_share"] == "rewards/limit/mean"
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
