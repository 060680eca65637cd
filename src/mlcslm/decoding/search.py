"""Greedy, multinomial, beam and sampled beam search in one: any number of beams, with or without noise.

The hypotheses are those of transformers' beam search (length penalty 1, no early stopping) and, with one beam, of its
greedy search, at a lower cost: see `prefix_tree`. Utterances leave the batch as soon as their answer is known. With
sampling, each utterance draws from its own stream, where transformers has one stream per batch. `sample_answers` and
`search_candidates` give several answers to each prompt, which is read once for all of them.

Shapes: B utterances still searched, K beams, V vocabulary rows, C candidates per step, T tokens of the longest answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.compiled_tree import CompiledTree, CompiledTrees
from mlcslm.decoding.loops import LOOP_STEPS, ends_in_loop
from mlcslm.decoding.prefix_tree import PrefixTree, prepare_for_trees, read_prompts
from mlcslm.decoding.sampling import UtteranceStreams
from mlcslm.model.speech_llm import SpeechLLM

_NEVER = -1e9  # score of absent beams and hypotheses


def search(
    model: SpeechLLM,
    prompts: Mapping[str, torch.Tensor],
    utterance_ids: Sequence[str],
    decoding: DecodingConfig,
    compiled_trees: CompiledTrees | None = None,
) -> list[list[int]]:
    """Ids of the best answer to each prompt: up to and including its end token, or up to the limit.

    prompts: `input_ids` padded on the left, `attention_mask`, and audio; a batch for `SpeechLLM`. utterance_ids: name
    the streams of sampling methods. compiled_trees: for compiled steps; by default shapes follow what is searched.
    Raises UserError for a language model whose attention cannot be shared.
    """
    prepare_for_trees(model, prompts["input_ids"].shape[1] + decoding.max_new_tokens)
    # CUDA graphs and inference mode have not always worked together.
    with torch.inference_mode() if compiled_trees is None else torch.no_grad():
        try:
            return _search(model, prompts, utterance_ids, decoding, compiled_trees)
        except torch.OutOfMemoryError:
            if compiled_trees is not None:
                compiled_trees.release()
            raise


def _search(
    model: SpeechLLM,
    prompts: Mapping[str, torch.Tensor],
    utterance_ids: Sequence[str],
    decoding: DecodingConfig,
    compiled_trees: CompiledTrees | None,
) -> list[list[int]]:
    trunk, logits = _read(model, prompts)
    tree = trunk if compiled_trees is None else compiled_trees.plant(trunk, decoding.beams, decoding.max_new_tokens)
    # The best of one beam's continuations is the same without their probabilities, which take longer to compute.
    scorer = _Scorer(model, utterance_ids, decoding, (decoding.seed,), normalised=decoding.beams > 1)
    return [best for (best,) in _grow(model, tree, logits, scorer, _Beams(len(utterance_ids), decoding, model))]


@dataclass(frozen=True)
class Samples:
    """A request for `count` answers to each prompt: independent ones if `decoding` has one beam, else its best."""

    decoding: DecodingConfig
    count: int


def sample_answers(
    model: SpeechLLM,
    prompts: Mapping[str, torch.Tensor],
    utterance_ids: Sequence[str],
    requests: Sequence[Samples],
    seed: Sequence[int],
) -> list[list[list[int]]]:
    """Ids of all requested answers to each prompt, in the order of `requests`, as `search` returns them.

    Every answer draws from a stream of its own, or every utterance from one per request with beams: a pure function of
    (seed, utterance, number of the answer), whatever else is in the batch. Each answer leaves the batch when it ends.
    Parameters as in `search`; the decodings' own seeds are not used.
    """

    def stream(name: str, request: int, answer: int | None) -> str:
        return f"{name}/{request}" if answer is None else f"{name}/{request}.{answer}"

    found = _several_answers(model, prompts, utterance_ids, requests, seed, stream)
    return [[answer.ids for answer in answers] for answers in found]


@dataclass(frozen=True)
class ScoredAnswer:
    """ids: up to and including the end token, or up to the limit; log_prob: their probability's natural logarithm.

    The probability is the model's own, at temperature 1, whatever temperature the answer was sampled at.
    """

    ids: list[int]
    log_prob: float


def search_candidates(
    model: SpeechLLM,
    prompts: Mapping[str, torch.Tensor],
    utterance_ids: Sequence[str],
    requests: Sequence[Samples],
    seed: int,
) -> list[list[ScoredAnswer]]:
    """All requested answers to each prompt, in the order of `requests`: candidates for one answer to be chosen from.

    The first sample is that of `search` with the same seed: it draws from the utterance's own stream, and each further
    one from another. So there may be at most one request for samples. Other parameters as in `search`.
    """
    if sum(_is_sampled(request.decoding) for request in requests) > 1:
        raise ValueError("several requests for samples, which would draw from the same streams")

    def stream(name: str, request: int, answer: int | None) -> str:
        return f"{name}/{answer}" if answer else name

    return _several_answers(model, prompts, utterance_ids, requests, (seed,), stream)


def _several_answers(
    model: SpeechLLM,
    prompts: Mapping[str, torch.Tensor],
    utterance_ids: Sequence[str],
    requests: Sequence[Samples],
    seed: Sequence[int],
    stream: Callable[[str, int, int | None], str],
) -> list[list[ScoredAnswer]]:
    """stream: names an answer's stream, given the utterance, the request's number and the answer's, None for beams."""
    prepare_for_trees(model, prompts["input_ids"].shape[1] + max(one.decoding.max_new_tokens for one in requests))
    answers: list[list[ScoredAnswer]] = [[] for _ in utterance_ids]
    with torch.inference_mode():
        trunk, logits = _read(model, prompts)
        for number, request in enumerate(requests):
            is_last = number == len(requests) - 1
            decoding, names = request.decoding, list(utterance_ids)
            if decoding.beams == 1:
                names = [stream(name, number, answer) for name in names for answer in range(request.count)]
                tree, best = trunk.repeated(request.count), 1
            else:
                names = [stream(name, number, None) for name in names]
                tree, best = trunk if is_last else trunk.repeated(1), request.count
            scorer = _Scorer(model, names, decoding, seed)
            rows = logits.repeat_interleave(len(names) // len(utterance_ids), dim=0)
            beams = _Beams(len(names), decoding, model, best)
            _grow(model, tree, rows, scorer, beams)
            for row, (found, scores) in enumerate(zip(beams.answers, beams.scores, strict=True)):
                answers[row * len(utterance_ids) // len(names)] += [
                    ScoredAnswer(ids, score * scorer.temperature) for ids, score in zip(found, scores, strict=True)
                ]
    return answers


def _read(model: SpeechLLM, prompts: Mapping[str, torch.Tensor]) -> tuple[PrefixTree, torch.Tensor]:
    """The tree whose trunk is the prompts, and the logits (B, 1, V) after them."""
    trunk, hidden = read_prompts(model, prompts)
    return trunk, model.compute_logits(hidden)


def _grow(
    model: SpeechLLM, tree: PrefixTree | CompiledTree, logits: torch.Tensor, scorer: _Scorer, beams: _Beams
) -> list[list[list[int]]]:
    """Search from the end of the prompts, after which the logits are `logits` (B, 1, V)."""
    while True:
        scores = scorer.log_probs(logits)
        if beams.bases is not None:
            scores.add_(beams.bases.unsqueeze(-1))
        beams.extend(scores, scorer.order(scores))
        if (left := beams.leave(tree.size)) is not None:
            if not len(left):
                return beams.answers
            tree.keep(left)
            scorer.keep(left)
        tree.grow(beams.parents)
        logits = tree.read(model, beams.tokens[:, :, beams.length - 1])


def _is_sampled(decoding: DecodingConfig) -> bool:
    return decoding.method in ("multinomial", "beam+sampling")


class _Scorer:
    """Log-probabilities of next tokens, and the scores that candidates are chosen by.

    normalised: whether they are that, or the same plus a constant per beam.
    """

    def __init__(
        self,
        model: SpeechLLM,
        utterance_ids: Sequence[str],
        decoding: DecodingConfig,
        seed: Sequence[int],
        *,
        normalised: bool = True,
    ) -> None:
        sampled = _is_sampled(decoding)
        self.temperature = decoding.temperature if sampled else 1.0
        self._normalised = normalised
        self._streams = UtteranceStreams(utterance_ids, seed, model.device) if sampled else None
        self._never = torch.tensor(model.generation_config.suppress_tokens or [], device=model.device).long()

    def log_probs(self, logits: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (B, K, V) in float32, divided by the temperature; -inf for suppressed tokens.

        If they are not normalised, `logits` may be overwritten.
        """
        log_probs = logits.float().log_softmax(-1) if self._normalised else logits.float()
        log_probs[..., self._never] = -torch.inf
        return log_probs if self.temperature == 1.0 else log_probs.div_(self.temperature)

    def order(self, scores: torch.Tensor) -> torch.Tensor:
        """The scores (B, K, V) that candidates are chosen by: with noise if they are sampled."""
        if self._streams is None:
            return scores
        noise = self._streams.gumbel(scores.shape[1] * scores.shape[2])
        return noise.view_as(scores).add_(scores)  # in place: a new tensor costs as much as the sum

    def keep(self, utterances: torch.Tensor) -> None:
        """Drop all but these utterances."""
        if self._streams is not None:
            self._streams.keep(utterances.tolist())


class _Beams:
    """Running beams and finished hypotheses of each utterance.

    totals: (B, K) scores of the running beams, one at first; tokens: (B, K, T) theirs; parents: (B, K) the beams of the
    previous step that they extend; length: how many tokens they have; answers: each utterance's `best`, once found;
    scores: of each of them, summed over its tokens.
    """

    def __init__(self, utterances: int, decoding: DecodingConfig, model: SpeechLLM, best: int = 1) -> None:
        device, limit, beams = model.device, decoding.max_new_tokens, decoding.beams
        end = model.generation_config.eos_token_id
        self._ends = torch.tensor([end] if isinstance(end, int) else end, device=device)
        self._limit, self._beams, self._stop_loops = limit, beams, decoding.stop_loops
        # Enough for beams to continue even if each of the best candidates ends: as transformers does.
        self._candidates = 1 if beams == 1 else max(2, 1 + len(self._ends)) * beams
        self._best = best
        self.answers: list[list[list[int]]] = [[] for _ in range(utterances)]
        self.scores: list[list[float]] = [[] for _ in range(utterances)]
        self.length = 0
        self.totals = torch.zeros(utterances, 1, device=device)
        self._sums = torch.zeros(utterances, device=device)  # with one beam, whose totals are the last token's scores
        self.tokens = torch.zeros(utterances, 1, limit, dtype=torch.long, device=device)
        self.parents = torch.zeros(utterances, 1, dtype=torch.long, device=device)
        self._done_scores = torch.full((utterances, beams), _NEVER, device=device)
        self._done_tokens = torch.zeros(utterances, beams, limit, dtype=torch.long, device=device)
        self._done_lengths = torch.zeros(utterances, beams, dtype=torch.long, device=device)
        self._utterances = list(range(utterances))
        self._found = torch.zeros(utterances, dtype=torch.bool, device=device)

    @property
    def bases(self) -> torch.Tensor | None:
        """What next tokens' log-probabilities are added to: the totals; nothing with one beam, to avoid rounding."""
        return None if self._beams == 1 else self.totals

    def extend(self, scores: torch.Tensor, order: torch.Tensor) -> None:
        """Continue with the best candidates of `scores` (B, K, V), chosen by `order` (B, K, V)."""
        vocabulary = scores.shape[-1]
        best_first = order.flatten(1)
        # For one candidate argmax is several times as fast on a CPU, and prefers the first of equals, as transformers.
        one = self._candidates == 1
        chosen = best_first.argmax(1, keepdim=True) if one else best_first.topk(self._candidates, dim=1).indices
        scores_BC = scores.flatten(1).gather(1, chosen)
        parents_BC = chosen // vocabulary
        tokens_BCT = _rows_of(self.tokens, parents_BC)
        tokens_BCT[:, :, self.length] = chosen % vocabulary
        self.length += 1
        ended = torch.isin(chosen % vocabulary, self._ends)
        if self.length == self._limit:
            ended = torch.ones_like(ended)
        self._finish(scores_BC, tokens_BCT, ended)
        best = (scores_BC + ended * _NEVER).topk(self._beams, dim=1)
        if one:
            self._sums = self._sums + scores_BC[:, 0]
        self.totals, self.parents = best.values, parents_BC.gather(1, best.indices)
        self.tokens = _rows_of(tokens_BCT, best.indices)
        self._find()

    def leave(self, size: Callable[[int, int], int]) -> torch.Tensor | None:
        """Batch indices of the utterances to keep, once all or enough of them can be dropped; else None.

        size: how many utterances to keep, given how many are still searched and the batch size.
        """
        if self._found.all():
            return self._found.new_empty(0, dtype=torch.long)
        batch = len(self._found)
        kept = size(int((~self._found).sum()), batch)
        if kept == batch:
            return None
        # Those still searched, filled up with finished ones.
        left = self._found.to(torch.uint8).argsort(stable=True)[:kept].sort().values
        for name in ("totals", "_sums", "tokens", "parents", "_done_scores", "_done_tokens", "_done_lengths", "_found"):
            setattr(self, name, getattr(self, name)[left])
        self._utterances = [self._utterances[row] for row in left.tolist()]
        return left

    def _finish(self, scores_BC: torch.Tensor, tokens_BCT: torch.Tensor, ended: torch.Tensor) -> None:
        """Merge ended candidates among the K best into the K best finished hypotheses, by score per token."""
        ended = ended[:, : self._beams]
        if not ended.any():
            return
        new = scores_BC[:, : self._beams] / self.length + ~ended * _NEVER
        best = torch.cat([self._done_scores, new], dim=1).topk(self._beams, dim=1)
        tokens = torch.cat([self._done_tokens, tokens_BCT[:, : self._beams]], dim=1)
        lengths = torch.cat([self._done_lengths, torch.full_like(self._done_lengths, self.length)], dim=1)
        self._done_scores = best.values
        self._done_tokens = _rows_of(tokens, best.indices)
        self._done_lengths = lengths.gather(1, best.indices)

    def _find(self) -> None:
        """Record the answers of utterances whose running beams cannot beat their finished hypotheses."""
        full = self._done_scores[:, -1] > _NEVER / 2
        best_running = self.totals[:, 0] / self.length
        found = full & (best_running <= self._done_scores[:, -1])
        if self.length == self._limit:
            found = torch.ones_like(found)
        found &= ~self._found
        looping = self._looping() if self._stop_loops and self.length % LOOP_STEPS == 0 else {}
        for row in {*found.nonzero().squeeze(1).tolist(), *looping}:
            finished = (self._done_scores[row, : self._best] > _NEVER / 2).tolist()
            lengths = self._done_lengths[row, : self._best].tolist()
            tokens = self._done_tokens[row, : self._best].tolist()
            ids = [one[:length] for one, length, ended in zip(tokens, lengths, finished, strict=True) if ended]
            utterance = self._utterances[row]
            self.answers[utterance] = ids or [looping[row]]
            if self._beams == 1:
                self.scores[utterance] = [float(self._sums[row])]
            elif ids:
                means = self._done_scores[row, : len(ids)].tolist()
                self.scores[utterance] = [mean * len(one) for mean, one in zip(means, ids, strict=True)]
            else:
                self.scores[utterance] = [float(self.totals[row, 0])]
            self._found[row] = True

    def _looping(self) -> dict[int, list[int]]:
        """The best running beams that end in a loop, by batch index."""
        best = self.tokens[:, 0, : self.length].tolist()
        found = self._found.tolist()
        return {row: ids for row, ids in enumerate(best) if not found[row] and ends_in_loop(ids)}


def _rows_of(tokens: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """(B, n, T): rows (B, n) selected from each of `tokens` (B, m, T)."""
    return tokens.gather(1, rows.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
