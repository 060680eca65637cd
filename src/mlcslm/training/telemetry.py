"""What a reinforcement stage logs beyond a supervised one, and whether its answers have collapsed.

Columns, one row per step, over all rollouts of the step's utterances: `reward` (mean weighted sum), `reward_NAME` and
`reward_NAME_std` for each reward in use (its mean and standard deviation, unweighted), `kl` (nats per token, to the
parent checkpoint; only with a `kl_weight`), `completion_length` (tokens, including the end token), `think_length`
(words, or characters where errors are counted in characters, of the hypothesis inside `<think>`; 0 if unreadable),
`zero_spread_share` (groups whose rollouts all have the same reward, from which nothing is learnt), `well_formed_share`
(mean of the format reward, whether or not it is in use), `collapsed` (0 or 1). Where they are configured:
`loop_share` and `limit_share` (answers that are penalised), `replaced_share` (groups replaced for having no spread, per
utterance of the step), `expected_reward` (with loss mwer).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from mlcslm.config.stages import CollapseConfig, ReinforcementConfig

_FROM_TRL = {
    "reward": "reward",
    "kl": "kl",
    "completion_length": "completions/mean_length",
    "think_length": "think_length",
    "zero_spread_share": "frac_reward_zero_std",
    "well_formed_share": "well_formed_share",
}


class Telemetry:
    """The additional columns of a stage's training log."""

    def __init__(self, stage: ReinforcementConfig, name: str) -> None:
        self.collapse = stage.collapse
        self.name = name
        self.sources = {name: source for name, source in _FROM_TRL.items() if name != "kl" or stage.kl_weight}
        for reward in stage.rewards:
            self.sources[f"reward_{reward}"] = f"rewards/{reward}/mean"
            self.sources[f"reward_{reward}_std"] = f"rewards/{reward}/std"
        for penalty in stage.penalties:
            self.sources[f"{penalty}_share"] = f"rewards/{penalty}/mean"
        if stage.replacement_rounds:
            self.sources["replaced_share"] = "replaced_share"
        if stage.loss == "mwer":
            self.sources["expected_reward"] = "expected_reward"

    @property
    def fields(self) -> list[pa.Field]:
        """The columns, `collapsed` last."""
        return [*(pa.field(column, pa.float64()) for column in self.sources), pa.field("collapsed", pa.int8())]

    def __call__(self, logs: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """The columns' values from what trl logs at a step; before: the log's rows so far.

        Prints a message when the answers collapse and when they recover.
        """
        row = {column: logs[source] for column, source in self.sources.items()}
        shares = [*(earlier["well_formed_share"] for earlier in before), row["well_formed_share"]]
        row["collapsed"] = int(is_collapsed(shares, self.collapse))
        if row["collapsed"] != (before[-1]["collapsed"] if before else 0):
            what = "collapsed" if row["collapsed"] else "recovered"
            print(
                f"{self.name}: {what} at step {len(shares)}: {shares[-1]:.0%} of the answers are well formed "
                f"(collapsed: below {self.collapse.format_below:.0%} for {self.collapse.steps} consecutive steps)",
                file=sys.stderr,
            )
        return row


def is_collapsed(shares: Sequence[float], collapse: CollapseConfig) -> bool:
    """Whether the last `collapse.steps` of `shares` (well-formed answers, by step) are all below its limit.

    >>> is_collapsed([1.0, 0.4, 0.4], CollapseConfig(format_below=0.5, steps=2))
    True
    >>> is_collapsed([0.4], CollapseConfig(format_below=0.5, steps=2))
    False
    """
    last = shares[-collapse.steps :]
    return len(last) == collapse.steps and all(share < collapse.format_below for share in last)
