"""First passes of other checkpoints in training, and what a stage that chooses between two is to answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlcslm.errors import UserError
from mlcslm.model.build import build_speech_llm
from mlcslm.model.processor import SpeechProcessor
from mlcslm.training.dataset import UtteranceDataset
from mlcslm.training.first_pass import best_choice
from mlcslm.workflow.layout import Layout


@pytest.mark.parametrize(
    ("group", "reference", "kept", "other", "errors"),
    [
        ("English-American", "yes I do", "yes i do", "yes i do", (0, 0)),
        ("English-American", "yes I do", "yes do", "yes i do", (1, 0)),
        ("English-American", "yes I do", "yes i do", "no", (0, 3)),
        ("English-American", "Yes, I do!", "yes i do", "yes i", (0, 1)),
        ("English-American", "yes I do", "yes you do", "yes we do", (1, 1)),
        ("English-American", "yes I do", "no you do", "yes i do so", (2, 1)),
        ("English-American", "yes I do", "", "no you can", (3, 3)),
        ("Japanese", "はい、そうです", "はいそうです", "はい", (0, 4)),
        ("Japanese", "はいそうです", "はいぞうてす", "はいそうてす", (2, 1)),
    ],
)
def test_the_better_of_two_is_chosen_and_a_wrong_one_written_again(
    languages: Any, group: str, reference: str, kept: str, other: str, errors: tuple[int, int]
) -> None:
    def choice(above: float | None) -> str | None:
        return best_choice("choose", languages[group], reference, [kept, other], above)

    better = "other" if errors[1] < errors[0] else "keep"
    length = 3 if group != "Japanese" else 6
    assert choice(None) == better
    assert choice(0.0) == ("rewrite" if min(errors) else better)
    for above in (0.1, 0.2, 0.35, 1.0):
        assert choice(above) == ("rewrite" if min(errors) / length > above else better)
    assert best_choice("tagged", languages[group], reference, [kept, other], 0.0) is None


@pytest.fixture(scope="module")
def processor(encoder_folder: str, language_model_folder: str, languages: Any) -> SpeechProcessor:
    return build_speech_llm(
        encoder=encoder_folder, language_model=language_model_folder, languages=languages, projector_hidden=8
    )[1]


@pytest.fixture
def passes(tones: Path, tmp_path: Path) -> tuple[tuple[Path, ...], ...]:
    """Hypotheses of two folds, some of them null, and first passes of heads in two variants."""
    rows = pq.read_table(tones).to_pylist()
    heard = [
        {"utterance_id": row["utterance_id"], "transcript": [row["text"], None, "no"][number % 3]}
        for number, row in enumerate(rows)
    ]
    files = []
    for fold in range(2):
        files.append(tmp_path / f"fold-{fold}" / "greedy" / "all.parquet")
        files[-1].parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(heard[fold::2]), files[-1])
    spelled = [
        {"utterance_id": row["utterance_id"], "variant": variant, "first_pass": row["text"] if variant else "hello no"}
        for row in rows
        for variant in (0, 1)
    ]
    pq.write_table(pa.Table.from_pylist(spelled), tmp_path / "heads.parquet")
    return tuple(files), (tmp_path / "heads.parquet",)


def test_each_example_has_both_and_answers_with_the_better(
    tones: Path, processor: SpeechProcessor, passes: tuple[tuple[Path, ...], ...]
) -> None:
    dataset = UtteranceDataset(tones, processor, "choose", first_passes=passes)
    answered = {row["utterance_id"]: row["transcript"] for file in passes[0] for row in pq.read_table(file).to_pylist()}
    found = set()
    for index, row in enumerate(dataset.rows):
        for number in (0, 1, 2):
            kept = answered[row["utterance_id"]] or ""
            other = row["text"] if number % 2 else "hello no"
            if kept == row["text"]:
                answer = "keep"
            else:
                rewritten = f"rewrite {processor.groups[row['grp']].token} <transcribe> {row['text']} </transcribe>"
                answer = "other" if other == row["text"] else rewritten
            example = dataset[number, index]
            prompt = [id for id, label in zip(example["input_ids"], example["labels"], strict=True) if label == -100]
            target = [label for label in example["labels"] if label != -100]
            marked = f"<transcribe> {kept} </transcribe>\n<transcribe> {other} </transcribe> ASSISTANT:"
            # The tokenizer drops white space around tags.
            assert re.sub(r"\s", "", processor.decode(prompt)).endswith(re.sub(r"\s", "", marked))
            assert re.sub(r"\s", "", processor.decode(target[:-1])) == re.sub(r"\s", "", answer)
            assert target[-1] == processor.end_token_id
            found.add(answer.split()[0])
    assert found == {"keep", "other", "rewrite"}
    never = UtteranceDataset(tones, processor, "choose", first_passes=passes, rewrite_above=None)
    assert all(len(never[0, index]["labels"]) < len(never[0, index]["input_ids"]) + 1 for index in range(len(never)))
    words = {processor.decode([one for one in never[0, n]["labels"] if one != -100][:-1]) for n in range(len(never))}
    assert {word.strip() for word in words} <= {"keep", "other"}


def test_hypotheses_that_are_missing_or_mixed_are_reported(
    tones: Path, processor: SpeechProcessor, passes: tuple[tuple[Path, ...], ...]
) -> None:
    first, second = passes[0]
    with pytest.raises(UserError, match=r"no first pass for 12 of 24 training utterances, e\.g\. "):
        UtteranceDataset(tones, processor, "tagged", first_passes=[[first]])
    table = pq.read_table(second)
    pq.write_table(table.replace_schema_metadata({"checkpoint": "other"}), first.with_name("more.parquet"))
    with pytest.raises(UserError, match=r"more\.parquet: made by a different checkpoint or decoding"):
        UtteranceDataset(tones, processor, "tagged", first_passes=[[first, first.with_name("more.parquet")]])


FOLDS = {f"fold-{number}": {"fold": [number, 2], "template": "tagged"} for number in range(2)}
READING = {"checkpoint": "control", "folds": ["fold-0", "fold-1"]}


@pytest.mark.parametrize(
    ("ours", "others", "sections", "fault"),
    [
        ({"template": "choose"}, {}, {}, "template 'choose' with 0 first passes; expected first_pass to list two"),
        ({"template": "choose", "first_pass": READING}, {}, {}, "template 'choose' with 1 first passes"),
        ({"template": "plain", "first_pass": READING}, {}, {}, "first_pass with template 'plain'"),
        ({"first_pass": [READING, READING]}, {}, {}, "first_pass names the same twice"),
        ({"rewrite_above": 0.1}, {}, {}, "rewrite_above with template 'tagged', which chooses nothing"),
        ({"first_pass": READING | {"folds": ["fold-0"]}}, {}, {}, r"stages\.ours\.first_pass\.0\.folds: .*at least 2"),
        ({"first_pass": {"checkpoint": "control"}}, {}, {}, r"stages\.ours\.first_pass\.0\.folds: Field required"),
        ({"first_pass": READING | {"fold": 1}}, {}, {}, r"stages\.ours\.first_pass\.0\.fold: unknown key"),
        ({"first_pass": ["head"]}, {}, {}, r"stages\.ours\.first_pass\.0: .*'ctc'; found 'head'"),
        (
            {"first_pass": READING | {"checkpoint": "controls"}},
            {},
            {},
            r"stages\.ours\.first_pass\.checkpoint names 'controls'; expected one of control, fold-0, fold-1, ours",
        ),
        (
            {"first_pass": READING | {"checkpoint": "fold-0"}},
            {},
            {},
            r"first_pass\.checkpoint names 'fold-0', whose fold is \(0, 2\); expected None",
        ),
        (
            {"first_pass": READING | {"folds": ["fold-1", "fold-0"]}},
            {},
            {},
            r"first_pass\.folds names 'fold-1', whose fold is \(1, 2\); expected \(0, 2\)",
        ),
        (
            {"first_pass": READING | {"folds": ["fold-0", "fold-1", "control"]}},
            {},
            {},
            r"first_pass\.folds names 'fold-0', whose fold is \(0, 2\); expected \(0, 3\)",
        ),
        (
            {"first_pass": READING},
            {"control": {"template": "tagged", "first_pass": "ctc"}},
            {},
            r"first_pass\.checkpoint names 'control', whose prompts have a first pass",
        ),
        (
            {"first_pass": READING, "parent": "foundation"},
            {"control": {"parent": "ours"}},
            {},
            "stages.ours learns from hypotheses of control, which is trained from it",
        ),
        (
            {"first_pass": READING},
            {"fold-1": {"parent": "middle"} | FOLDS["fold-1"], "middle": {"parent": "ours"}},
            {},
            "stages.ours learns from hypotheses of fold-1, which is trained from it",
        ),
        (
            {"first_pass": READING | {"decoding": "beam"}},
            {},
            {},
            r"stages\.ours\.first_pass\.decoding is 'beam'; expected one without context and CTC head: greedy",
        ),
        (
            {"first_pass": READING | {"decoding": "judged"}},
            {},
            {"decodings": {"greedy": {}, "judged": {"method": "consensus", "consensus": {"weights": "ctc"}}}},
            "decoding is 'judged'; expected one without context and CTC head: greedy",
        ),
        (
            {"first_pass": READING},
            {},
            {
                "embeddings": {"e": {"network": "campplus", "checkpoint": "x"}},
                "diarizers": {"d": {"embedding": "e", "asr": {"checkpoint": "ours", "decoding": "greedy"}}},
            },
            r"diarizers\.d\.asr\.checkpoint is 'ours', whose prompts have what control answers .* such as control",
        ),
        (
            {"first_pass": READING},
            {"rl": {"kind": "reinforcement", "parent": "ours", "template": "tagged", "rewards": ["errors"]}},
            {},
            r"stages\.rl\.parent is 'ours', whose prompts have a first pass",
        ),
        (
            {"first_pass": READING},
            {"control": None},
            {},
            r"stages\.ours\.first_pass\.checkpoint: 'control' was removed",
        ),
        (
            {"template": "choose", "first_pass": ["ctc", READING]},
            {"fold-1": None},
            {},
            r"stages\.ours\.first_pass\.folds: 'fold-1' was removed",
        ),
    ],
)
def test_mistakes_in_the_configuration_are_named(
    make_config: Callable[..., Any],
    ours: dict[str, Any],
    others: dict[str, Any],
    sections: dict[str, Any],
    fault: str,
) -> None:
    from mlcslm.config.reading import parse_config

    stages = {"control": {}} | FOLDS | {"ours": {"parent": "control", "template": "tagged"} | ours}
    stages |= {name: other for name, other in others.items() if other is not None}
    valid = make_config({"control": {"steps": 1}})
    values = valid.model_dump(mode="json", exclude={"stages"}) | sections
    usual = {"parent": "foundation", "trains": ["projector"], "template": "plain", "steps": 1}
    values["stages"] = {name: usual | stage for name, stage in stages.items()}
    values["stages"] |= {name: None for name, other in others.items() if other is None}
    with pytest.raises(UserError) as raised:
        parse_config(values)
    assert re.search(fault, str(raised.value)), raised.value


def test_what_a_choosing_stage_waits_for(make_config: Callable[..., Any]) -> None:
    stages = {"control": {}} | FOLDS
    stages["choose"] = {"parent": "control", "template": "choose", "first_pass": [READING, "ctc"]}
    stages["measured"] = stages["choose"] | {"eval_steps": 1, "first_pass": ["ctc", READING]}
    config = make_config(
        {name: {"steps": 1} | stage for name, stage in stages.items()}, resources={"languages_per_shard": 8}
    )
    layout = Layout(config)
    hypotheses = [
        f"results/first_pass/hypotheses/fold-{number}/greedy/{shard}.parquet"
        for number in range(2)
        for shard in ("English-American", "Japanese")
    ]
    heads = ["results/first_pass/foundation/train.parquet"]
    assert layout.first_pass_files("choose") == [hypotheses, heads]
    assert layout.first_pass_files("measured") == [heads, hypotheses]
    assert layout.first_pass_files("control") == [] == layout.first_pass_hypotheses("control", "dev")
    assert layout.first_pass_hypotheses("choose", "test") == ["results/hypotheses/control/greedy/test.parquet"]
    assert layout.measuring_hypotheses("choose") == [] == layout.measuring_ctc_file("choose")
    assert layout.measuring_hypotheses("measured") == ["results/hypotheses/control/greedy/dev.parquet"]
    assert layout.measuring_ctc_file("measured") == ["results/ctc/foundation/ctc.json"]
    assert set(config.needed("choose")) == {"choose", "control", "fold-0", "fold-1"}
    assert config.needed("fold-1") == ["fold-1"]
