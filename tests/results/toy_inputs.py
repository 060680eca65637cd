"""A corpus of ten utterances, three systems and their counts, small enough to work every rate by hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from mlcslm.results.database import SystemRow, build_database

ROOT = Path(__file__).parents[2]
TOY: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "toy.yaml").read_text(encoding="utf-8"))
SYSTEMS = [
    SystemRow("baseline-2", "greedy", "baseline-1", "projector + LoRA"),
    SystemRow("ckpt-4000", "greedy", "ckpt-2000", "Special token SFT"),
    SystemRow("ckpt-7000", "greedy", "ckpt-4000", "LoRA SFT"),
]
STAGE = {"trains": ["projector"], "template": "plain", "steps": 10}
CONFIG: dict[str, Any] = {
    "seed": 5,
    "models": {"encoder": "toy-encoder", "language_model": "toy-lm"},
    "stages": {
        "baseline-1": {**STAGE, "parent": "foundation"},
        "baseline-2": {**STAGE, "parent": "baseline-1"},
        "ckpt-2000": {**STAGE, "parent": "foundation"},
        "ckpt-4000": {**STAGE, "parent": "ckpt-2000", "method": "Special token SFT"},
        "ckpt-7000": {**STAGE, "parent": "ckpt-4000"},
    },
    "decodings": {"greedy": {}},
    "scoring": {"protocol": "mlcslm-2025"},
}


@dataclass(frozen=True)
class Inputs:
    """Arguments of build_database, with the rows behind its files for tests that change some."""

    folder: Path
    manifests: dict[str, Path]
    hypotheses: list[Path]
    scores: list[Path]
    training_logs: list[Path]
    reflections: list[Path] = field(default_factory=list)
    diarization: list[Path] = field(default_factory=list)
    segments: list[Path] = field(default_factory=list)
    stretch_answers: dict[tuple[str, str], Path] = field(default_factory=dict)
    oracles: list[Path] = field(default_factory=list)
    stage_costs: Path | None = None
    tables: Path = ROOT / "config/tables.yaml"
    systems: list[SystemRow] = field(default_factory=lambda: list(SYSTEMS))
    config: dict[str, Any] = field(default_factory=lambda: dict(CONFIG))

    @property
    def out(self) -> Path:
        """Where `build` writes."""
        return self.folder / "results.duckdb"

    def with_counts(self, system: str, split: str, rows: list[dict[str, Any]]) -> Inputs:
        """These inputs with one file of counts made of `rows`."""
        write_parquet(self.folder / f"scores/{system}/{split}.parquet", rows)
        return self

    def with_manifest(self, split: str, rows: list[dict[str, Any]]) -> Inputs:
        """These inputs with one manifest made of `rows`."""
        write_parquet(self.manifests[split], rows)
        return self

    def with_hypotheses(self, system: str, split: str, rows: list[dict[str, Any]]) -> Inputs:
        """These inputs with one file of hypotheses made of `rows`."""
        write_parquet(self.folder / f"hypotheses/{system}/{split}.parquet", rows)
        return self

    def with_diarization(self, diarizer: str, split: str, rows: list[dict[str, Any]]) -> Inputs:
        """These inputs with one file of a diarizer's counts made of `rows`."""
        write_parquet(self.folder / f"diarization/{diarizer}/{split}/counts.parquet", rows)
        return self

    def build(self, **changes: Any) -> Path:
        """Build `folder/results.duckdb`, with some inputs changed; return its path."""
        inputs = replace(self, **changes)
        build_database(
            self.out,
            preset="toy",
            config=inputs.config,
            manifests=inputs.manifests,
            hypotheses={_system_and_split(path.with_suffix(""), "hypotheses"): path for path in inputs.hypotheses},
            scores=inputs.scores,
            reflections=inputs.reflections,
            training_logs=inputs.training_logs,
            diarization=inputs.diarization,
            segments={_system_and_split(path.parent, "diarization"): path for path in inputs.segments},
            tables=inputs.tables,
            languages=ROOT / "config/languages.tsv",
            systems=inputs.systems,
            oracles=inputs.oracles,
            stage_costs=inputs.stage_costs,
            stretch_answers=inputs.stretch_answers,
        )
        return self.out


def _system_and_split(path: Path, kind: str) -> tuple[str, str]:
    """What the toy corpus's files are named by: `…/<kind>/<system>/<split>`."""
    parts = path.parts
    return "/".join(parts[parts.index(kind) + 1 : -1]), parts[-1]


def manifest_rows(split: str) -> list[dict[str, Any]]:
    """Rows of a split's manifest."""
    rows: list[dict[str, Any]] = []
    for of_split, session, group, speaker, start, end, text in TOY["utterances"]:
        if of_split == split:
            times = f"{int(round(start, 2) * 100):06d}-{int(round(end, 2) * 100):06d}"
            rows.append(
                {
                    "utterance_id": f"{group}-{session.split('_')[1]}-{speaker}-{times}",
                    "session_id": session,
                    "grp": group,
                    "speaker": speaker,
                    "turn": sum(row["session_id"] == session for row in rows),
                    "start": start,
                    "end": end,
                    "audio": f"corpus/{split}/{session}.wav",
                    "sample_rate": 16000,
                    "text": text,
                }
            )
    return rows


def hypothesis_rows(system: str, split: str) -> list[dict[str, Any]]:
    """A system's answers: the text itself but for a malformed, a cut-off and a wrong-language one."""
    rows = []
    for number, row in enumerate(manifest_rows(split)):
        malformed, cut = system.startswith("baseline") and number == 0, number in TOY["cut"].get(system, ())
        language = {"English-American": "<LANG_EN>", "French": "<LANG_FR>", "Thai": "<LANG_TH>"}[row["grp"]]
        rows.append(
            {
                "utterance_id": row["utterance_id"],
                "raw_text": f"{language} <transcribe> {row['text']} </transcribe>",
                "language": None if malformed else "<LANG_DE>" if number == 3 else language,
                "transcript": row["text"],
                "think": "…" if number < len(TOY["reflections"].get(system, ())) else None,
                "tokens": 5 + number,
                "audio_tokens": int(10 * (row["end"] - row["start"])),
                "stop_reason": "malformed" if malformed else "length" if cut else "end",
                "seconds": 0.25,
                "loop": number in TOY["loops"].get(system, ()),
            }
        )
    return rows


def count_rows(system: str, split: str, protocol: str = "mlcslm-2025") -> list[dict[str, Any]]:
    """A system's counts on a split."""
    return [
        {
            "system": system,
            "split": split,
            "protocol": protocol,
            **{key: row[key] for key in ("utterance_id", "session_id", "grp")},
            "length": length,
            "errors": insertions + deletions + substitutions,
            "insertions": insertions,
            "deletions": deletions,
            "substitutions": substitutions,
        }
        for row, length, (insertions, deletions, substitutions) in zip(
            manifest_rows(split), TOY["lengths"][split], TOY["counts"][system][split], strict=True
        )
    ]


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows with the contract's types: 32-bit integers, 64-bit floats, strings."""
    kinds = {int: pa.int32(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}
    fields = []
    for name in rows[0]:
        values = [row[name] for row in rows if row[name] is not None]
        fields.append(pa.field(name, kinds[type(values[0])] if values else pa.string()))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(fields)), path)
    return path


def make_inputs(made: Path) -> Inputs:
    """Write the toy corpus's files below the folder `made`."""
    runs = [(row.system, split) for row in SYSTEMS for split in ("dev", "test")]
    return Inputs(
        folder=made,
        manifests={
            split: write_parquet(made / f"manifests/{split}.parquet", manifest_rows(split))
            for split in ("train", "dev", "test")
        },
        hypotheses=[
            write_parquet(made / f"hypotheses/{system}/{split}.parquet", hypothesis_rows(system, split))
            for system, split in runs
        ],
        scores=[
            write_parquet(made / f"scores/{system}/{split}.parquet", count_rows(system, split))
            for system, split in runs
        ],
        training_logs=[write_log(made, "ckpt-4000", [2.0 / step for step in range(1, 121)])],
    )


def with_reasoning(inputs: Inputs) -> Inputs:
    """`inputs` with more files: ckpt-2000, ckpt-10000 and a reinforcement stage that collapses, all on dev."""
    made, best = inputs.folder, "ckpt-12500/format+accuracy"
    names = ("ckpt-2000", "ckpt-10000", best)
    stages = {
        "ckpt-10000": {**STAGE, "parent": "ckpt-7000", "template": "reasoning"},
        best: {
            "kind": "reinforcement",
            "parent": "ckpt-10000",
            "trains": ["projector"],
            "steps": 4,
            "rewards": ["format"],
        },
    }
    written: dict[str, list[Path]] = {"hypotheses": [], "scores": [], "reflections": []}
    for name in names:
        system = f"{name}/greedy"
        for kind, rows in (("hypotheses", hypothesis_rows), ("scores", count_rows), ("reflections", reflection_rows)):
            if made_rows := rows(system, "dev"):
                written[kind].append(write_parquet(made / f"{kind}/{system}/dev.parquet", made_rows))
    return replace(
        inputs,
        **{kind: getattr(inputs, kind) + paths for kind, paths in written.items()},
        training_logs=[
            *inputs.training_logs,
            write_log(made, "ckpt-2000", [0.9] * 18 + [0.4, 0.2]),
            write_log(made, "ckpt-7000", [0.5] * 10 + [0.125]),
            write_log(made, "ckpt-10000", [0.25]),
            write_log(made, best, [0.0] * 4, **TOY["telemetry"]),
        ],
        systems=[*inputs.systems, *(SystemRow(name, "greedy") for name in names)],
        config={**inputs.config, "stages": {**inputs.config["stages"], **stages}},
    )


def reflection_rows(system: str, split: str) -> list[dict[str, Any]]:
    """What a system's reflections did on its first utterances."""
    kinds = ("substitutions", "insertions", "deletions")
    return [
        {
            **{name: row[name] for name in ("system", "split", "protocol", "utterance_id", "length")},
            "final_errors": row["errors"],
            "first_errors": first,
            **{f"named_{kind}": count for kind, count in zip(kinds, named, strict=True)},
            **{f"true_{kind}": count for kind, count in zip(kinds, true, strict=True)},
            "named_right": right,
        }
        for row, (first, named, true, right) in zip(
            count_rows(system, split), TOY["reflections"].get(system, ()), strict=False
        )
    ]


def write_log(made: Path, checkpoint: str, losses: list[float], **telemetry: list[Any]) -> Path:
    """A training log with a row a loss, and columns beside the usual ones."""
    rows = [
        {
            "checkpoint": checkpoint,
            "step": step,
            "loss": loss,
            "learning_rate": 1e-3,
            "tokens_per_second": 1000.0,
            "seconds": 0.5 * step,
            **{name: values[step - 1] for name, values in telemetry.items()},
        }
        for step, loss in enumerate(losses, start=1)
    ]
    return write_parquet(made / f"checkpoints/{checkpoint}/training_log.parquet", rows)
