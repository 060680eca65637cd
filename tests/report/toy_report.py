"""The toy corpus of tests/results with audio, texts that would harm a careless page, and answers to its counts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1] / "results"))
import toy_inputs as toy
import toy_tables

sys.path.pop(0)

RATE = 16000
HOSTILE = (
    "<script>document.title='run'</script> '; DROP TABLE utterances; -- "
    '=HYPERLINK("x") \u200fend<img src=x onerror=alert(1)>'
)
HOSTILE_PRESET = "<b>toy</b>"
BEST, OTHER = "ckpt-7000/greedy", "ckpt-4000/greedy"
# With the toy corpus's counts: a deletion, an insertion, and substitutions in the last two.
ANSWERS = {
    BEST: [
        "good morning",
        "how are you today my",
        None,
        "bonjour madame",
        '=HYPERLINK("http://example.org","open")',
        "ขอบคุน",
    ],
    OTHER: ["good", "how is you today sir", HOSTILE, "bonsoir", "", "ขอมคุ"],
}


def make_report_inputs(folder: Path) -> toy.Inputs:
    """Inputs of build_database below `folder`, wav files beside them."""
    inputs = toy_tables.with_everything(toy.make_inputs(folder / "results"))
    inputs.config["scoring"] = inputs.config["scoring"] | {"bootstrap_samples": 100}
    for split in ("dev", "test"):
        rows = toy.manifest_rows(split)
        for row in rows:
            row["audio"] = str(write_wav(folder / "corpus" / f"{row['session_id']}.wav"))
            if row["session_id"] == "American_02":
                row["text"] = HOSTILE
        inputs = inputs.with_manifest(split, rows)
    for system, answers in ANSWERS.items():
        rows = toy.hypothesis_rows(system, "dev")
        for row, answer in zip(rows, answers, strict=True):
            text = HOSTILE if answer is None else answer
            row |= {"transcript": text, "raw_text": f"<LANG_EN> <transcribe> {text} </transcribe>", "think": text}
        inputs = inputs.with_hypotheses(system, "dev", rows)
    return inputs


def write_wav(path: Path, seconds: float = 10.0) -> Path:
    """A wav file of a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * RATE)) / RATE)
    soundfile.write(path, tone, RATE, subtype="PCM_16")
    return path


def build(folder: Path) -> Path:
    """The database of `make_report_inputs`, made with a preset whose name is markup."""
    inputs = make_report_inputs(folder)
    database = inputs.build()
    rename_preset(database)
    return database


def rename_preset(database: Path) -> None:
    """Give the preset of a database the name `HOSTILE_PRESET`."""
    import duckdb

    with duckdb.connect(str(database)) as connection:
        connection.execute("UPDATE settings SET value = ? WHERE key = 'preset'", [HOSTILE_PRESET])
