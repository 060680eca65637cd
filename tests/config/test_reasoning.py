"""The configuration of stage 4: reasoning data, folds, loss weight of the reflection."""

from __future__ import annotations

from typing import Any

import pytest

from mlcslm.config.reading import parse_config
from mlcslm.config.schema import Config
from mlcslm.errors import FaultyInput

USUAL = {"parent": "foundation", "trains": ["projector", "lm_lora"], "template": "tagged", "steps": 1}
REASONING = {"parent": "heard", "trains": ["lm_lora"], "template": "reasoning", "steps": 1}


def parse(stages: dict[str, Any], **sections: Any) -> Config:
    values = {"models": {"encoder": "e", "language_model": "l"}, "stages": stages, "decodings": {"greedy": {}}}
    return parse_config(values | sections)


def fault_of(stages: dict[str, Any], **sections: Any) -> str:
    with pytest.raises(FaultyInput) as caught:
        parse(stages, **sections)
    (fault,) = caught.value.faults
    return fault


def folds(count: int) -> dict[str, Any]:
    return {f"half-{number}": USUAL | {"fold": [number, count]} for number in range(count)}


def test_hypotheses_come_from_one_checkpoint_or_one_per_fold() -> None:
    one = parse({"heard": USUAL, "thinks": REASONING}, reasoning={"checkpoint": "heard"})
    assert one.reasoning.checkpoints == ("heard",)
    stages = {"heard": USUAL, "thinks": REASONING} | folds(2)
    several = parse(stages, reasoning={"checkpoint": ["half-0", "half-1"]})
    assert several.reasoning.checkpoints == ("half-0", "half-1")
    assert [several.needs_reasoning_data(name) for name in ("heard", "thinks", "half-1")] == [False, True, False]


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        ({}, "names 'ckpt-7000'; expected one of heard, thinks, "),
        ({"checkpoint": "heard", "decoding": "beam"}, "reasoning.decoding is 'beam'; expected one of greedy"),
        ({"checkpoint": "thinks"}, "names 'thinks', but thinks"),
        ({"checkpoint": "later"}, "names 'later', but thinks"),
        ({"checkpoint": "half-0"}, "'half-0', whose fold is (0, 2); expected None"),
        ({"checkpoint": ["half-1", "half-0"]}, "'half-1', whose fold is (1, 2); expected (0, 2)"),
        ({"checkpoint": ["half-0", "heard"]}, "'heard', whose fold is None; expected (1, 2)"),
    ],
)
def test_impossible_reasoning_data_are_rejected(reasoning: dict[str, Any], expected: str) -> None:
    later = USUAL | {"parent": "thinks"}
    stages = {"heard": USUAL, "thinks": REASONING, "later": later} | folds(2)
    assert expected in fault_of(stages, reasoning=reasoning)


def test_reasoning_is_not_checked_if_no_stage_needs_it() -> None:
    """The defaults name a checkpoint that such a configuration need not have; reinforcement does not need it either."""
    reinforced = {"kind": "reinforcement", "parent": "heard", "trains": ["lm_lora"], "steps": 1, "rewards": ["format"]}
    config = parse({"heard": USUAL, "reinforced": reinforced})
    assert not config.needs_reasoning_data("reinforced")


@pytest.mark.parametrize(
    ("fold", "fits"), [([0, 2], True), ([2, 3], True), ([2, 2], False), ([-1, 2], False), ([0, 1], False)]
)
def test_a_fold_is_one_of_its_count(fold: list[int], fits: bool) -> None:
    if fits:
        assert list(parse({"a": USUAL | {"fold": fold}}).stages["a"].fold) == fold
    else:
        assert f"stages.a: fold is {fold}" in fault_of({"a": USUAL | {"fold": fold}})


def test_loss_weight_needs_answers_with_a_reflection() -> None:
    fault = fault_of({"a": USUAL | {"prompt_loss_weight": {}}})
    assert fault.startswith("stages.a: prompt_loss_weight with template 'tagged'")
    weighted = parse(
        {"heard": USUAL, "thinks": REASONING | {"prompt_loss_weight": {"steps": 60}}}, reasoning={"checkpoint": "heard"}
    )
    weight = weighted.stages["thinks"].prompt_loss_weight
    assert (weight.first, weight.last, weight.steps) == (1.0, 0.1, 60)
