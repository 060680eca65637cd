"""What Tables 3, 4, 5 and 7 show of the toy corpus: more systems, and diarizers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from toy_inputs import (
    STAGE,
    TOY,
    Inputs,
    count_rows,
    hypothesis_rows,
    manifest_rows,
    with_reasoning,
    write_log,
    write_parquet,
)

from mlcslm.results.database import SystemRow

BEST, CONTEXT = "ckpt-12500/format+accuracy+correction", "ckpt-9000-context"
GRIDS = [
    (BEST, "multinomial-150"),
    (BEST, "beam-10-150"),
    (CONTEXT, "greedy-reference-context"),
    (CONTEXT, "greedy-hypothesis-context"),
]
EMBEDDING = {"network": "campplus", "checkpoint": "public"}
DIARIZER = {"embedding": "campplus", "asr": {"checkpoint": "ckpt-7000", "decoding": "greedy"}}
DIARIZERS: dict[str, dict[str, Any]] = {
    "campplus-60": DIARIZER | {"max_segment_s": 60},
    # Named before what it varies: order must not matter.
    "campplus-8-merged": DIARIZER | {"keep_vad_boundaries": False},
    "campplus-8": DIARIZER,
    "campplus-8-two-speakers": DIARIZER | {"num_speakers": 2},
}


def with_grids(inputs: Inputs) -> Inputs:
    """`inputs` with two decodings of Table 4 and with contexts, on dev."""
    made, systems = inputs.folder, [f"{checkpoint}/{decoding}" for checkpoint, decoding in GRIDS]
    stages = {
        BEST: {"parent": "ckpt-7000", **STAGE},
        CONTEXT: {"parent": "ckpt-7000", **STAGE},
    }
    decodings = {decoding: {} for _, decoding in GRIDS}
    return replace(
        inputs,
        hypotheses=inputs.hypotheses
        + [write_parquet(made / f"hypotheses/{name}/dev.parquet", hypothesis_rows(name, "dev")) for name in systems],
        scores=inputs.scores
        + [write_parquet(made / f"scores/{name}/dev.parquet", count_rows(name, "dev")) for name in systems],
        training_logs=[
            *(path for path in inputs.training_logs if "ckpt-7000" not in str(path)),
            write_log(made, "ckpt-7000", [0.5] * 10 + [0.125]),
            write_log(made, CONTEXT, [0.25]),
        ],
        systems=[*inputs.systems, *(SystemRow(*names) for names in GRIDS)],
        config=inputs.config
        | {"stages": inputs.config["stages"] | stages, "decodings": inputs.config["decodings"] | decodings},
    )


def with_diarization(inputs: Inputs) -> Inputs:
    """`inputs` with four diarizers: two on both splits, two variants of one on dev."""
    return replace(
        inputs,
        diarization=[
            write_parquet(counts_path(inputs, name, split), diarization_rows(name, split))
            for name, of_splits in TOY["diarization"]["counts"].items()
            for split in of_splits
        ],
        segments=[
            write_parquet(inputs.folder / f"diarization/{name}/{split}/hypotheses.parquet", segment_rows(split))
            for name, of_splits in TOY["diarization"]["counts"].items()
            for split in of_splits
        ],
        config=inputs.config | {"embeddings": {"campplus": EMBEDDING}, "diarizers": DIARIZERS},
    )


def with_recipes(inputs: Inputs) -> Inputs:
    """`inputs` with two recipes, ckpt-7000 and its control ckpt-4000, and the oracle of ckpt-7000's candidates."""
    made, best = inputs.folder, "ckpt-7000/greedy"
    rows = [
        {name: row[name] for name in ("system", "split", "protocol", "utterance_id", "length")}
        | {"candidates": number, "errors": errors}
        for row, of_row in zip(count_rows(best, "dev"), TOY["oracles"], strict=True)
        for number, errors in enumerate(of_row, start=1)
    ]
    costs = [
        {"checkpoint": name, "parent": parent, "steps": 10, "flop": flop}
        for name, (parent, flop) in TOY["stage_costs"].items()
    ]
    logs = ["ckpt-2000", "ckpt-7000"]
    recipes = {
        "plain": {"checkpoint": "ckpt-4000"},
        "ours": {"checkpoint": "ckpt-7000", "control": "plain", "note": "a toy"},
    }
    return replace(
        inputs,
        oracles=[write_parquet(made / f"oracles/{best}/dev.parquet", rows)],
        stage_costs=write_parquet(made / "costs/stages.parquet", costs),
        training_logs=[
            *inputs.training_logs,
            *(write_log(made, name, [0.5]) for name in logs if not any(name in str(p) for p in inputs.training_logs)),
        ],
        config=inputs.config | {"recipes": recipes},
    )


def with_everything(inputs: Inputs) -> Inputs:
    """`inputs` with systems that reflect, those of Tables 3, 4 and 8, and diarizers."""
    return with_recipes(with_diarization(with_grids(with_reasoning(inputs))))


def counts_path(inputs: Inputs, diarizer: str, split: str) -> Path:
    """Where the counts of a diarizer lie."""
    return inputs.folder / f"diarization/{diarizer}/{split}/counts.parquet"


def diarization_rows(diarizer: str, split: str) -> list[dict[str, Any]]:
    """A diarizer's counts on a split."""
    data = TOY["diarization"]
    sessions = dict.fromkeys((row["session_id"], row["grp"]) for row in manifest_rows(split))
    lengths = {session: 0 for session, _ in sessions}
    for row, length in zip(manifest_rows(split), TOY["lengths"][split], strict=True):
        lengths[row["session_id"]] += length
    rows = []
    for (session, group), speech, oracle, counts in zip(
        sessions, data["speech"][split], data["oracle"][split], data["counts"][diarizer][split], strict=True
    ):
        missed, false_alarm, confusion, insertions, deletions, substitutions, confused, lost, invented = counts
        errors, length = insertions + deletions + substitutions, lengths[session]
        rows.append(
            {
                **{"system": diarizer, "split": split, "protocol": "mlcslm-2025", "recording": session, "grp": group},
                **{"scored_speech": speech, "missed": missed, "false_alarm": false_alarm, "confusion": confusion},
                **{"speakers_reference": 2, "speakers_found": 3 if confusion else 2},
                **{"tcp_errors": errors, "tcp_length": length, "tcp_insertions": insertions},
                **{"tcp_deletions": deletions, "tcp_substitutions": substitutions},
                **{"cp_errors": errors, "cp_length": length, "orc_errors": errors - confused, "orc_length": length},
                **{
                    "timing_errors": 0,
                    "confusion_errors": confused,
                    "missed_errors": lost,
                    "false_alarm_errors": invented,
                },
                **{"recognition_errors": errors - confused - lost - invented},
                **{"oracle_errors": oracle, "oracle_length": length, "orc_exact": True},
            }
        )
    return rows


def segment_rows(split: str) -> list[dict[str, Any]]:
    """Segments that are the utterances themselves, the second of them without an answer's transcript."""
    return [
        {
            **answer,
            **{name: row[name] for name in ("grp", "start", "end", "audio")},
            "recording": row["session_id"],
            "speaker": row["speaker"].replace("O", "S"),
            "transcript": None if number == 1 else answer["transcript"],
        }
        for number, (row, answer) in enumerate(
            zip(manifest_rows(split), hypothesis_rows("ckpt-7000/greedy", split), strict=True)
        )
    ]
