"""Each utterance has one reflection, on what was heard of it, without runaway text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcslm.corpus.augmentation import generate_noises
from mlcslm.errors import FaultyInput, UserError
from mlcslm.text.reflection import parse_reflection, units
from mlcslm.training.reasoning_data import SCHEMA, clip_hypothesis, decoding_augmenter, write_reasoning_data

TEXTS = {
    "French-1": ("French", "Ça va, toi ?", "ça va moi"),
    "French-2": ("French", "Oui.", "oui"),
    "Thai-1": ("Thai", "ดี", "ด"),
    "Thai-2": ("Thai", None, "ดี"),
    "French-3": ("French", "Non !", "non " * 30),
}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = [{"utterance_id": name, "grp": grp, "text": text} for name, (grp, text, _) in TEXTS.items()]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    return tmp_path / "train.parquet"


def shard(path: Path, names: list[str], provenance: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"utterance_id": name, "transcript": TEXTS[name][2] if name in TEXTS else ""} for name in names]
    schema = pa.schema([("utterance_id", pa.string()), ("transcript", pa.string())], {"checkpoint": provenance})
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return path


def write(manifest: Path, shards: list[Path], languages: Any, **options: Any) -> tuple[str, list[dict]]:
    out = manifest.parent / "reasoning.parquet"
    errors = write_reasoning_data(manifest, shards, out, languages, **({"max_details": 6} | options))
    table = pq.read_table(out)
    assert table.schema == SCHEMA
    return str(errors), table.to_pylist()


def test_each_utterance_with_text_has_its_reflection(manifest: Path, tmp_path: Path, languages) -> None:
    names = list(TEXTS)
    shards = [shard(tmp_path / "a" / f"{i}.parquet", part) for i, part in enumerate([names[3:], names[:3]])]
    summary, rows = write(manifest, shards, languages)
    found = {row["utterance_id"]: (row["hypothesis"], row["think"]) for row in rows}
    assert list(found) == ["French-1", "French-2", "Thai-1", "French-3"]
    assert found["French-1"] == (
        "ça va moi",
        "The speech sounds like: ça va moi, but it might have some substitution: moi -> toi, let me correct it.",
    )
    assert found["French-2"][1].endswith("oui, but it might have some errors: none, let me correct it.")
    # Thai is counted in characters, and the vowel is one.
    assert found["Thai-1"][1].endswith("ด, but it might have some deletion: ี, let me correct it.")
    # Twice the reference's one word plus five: six words are dropped.
    assert found["French-3"][0] == " ".join(["non"] * 7)
    assert found["French-3"][1].endswith("insertion: non, non, non, non, non, non, let me correct it.")
    assert summary == "4 hypotheses, 3 of them wrong, 1 clipped; error rate 114.29 % (8 of 7)"


def test_long_lists_are_truncated(manifest: Path, tmp_path: Path, languages) -> None:
    _, rows = write(manifest, [shard(tmp_path / "a" / "all.parquet", list(TEXTS))], languages, max_details=2)
    reflection = parse_reflection(rows[-1]["think"])
    assert reflection is not None
    assert (len(reflection.edits), reflection.truncated) == (2, True)


def test_folds_make_up_the_training_set_together(manifest: Path, tmp_path: Path, languages) -> None:
    """From different checkpoints, each in its own folder."""
    names = list(TEXTS)
    shards = [shard(tmp_path / f"half-{i}" / "all.parquet", names[i::2], provenance=str(i)) for i in range(2)]
    assert len(write(manifest, shards, languages)[1]) == 4


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([["French-1", "French-2"]], "3 without a hypothesis, e.g. Thai-1"),
        ([list(TEXTS), ["Thai-2"]], "1 with several hypotheses, e.g. Thai-2"),
        ([[*TEXTS, "Thai-9"]], "1 not in the manifest, e.g. Thai-9"),
    ],
)
def test_missing_and_extra_hypotheses_are_refused(
    manifest: Path, tmp_path: Path, languages, parts, expected: str
) -> None:
    shards = [shard(tmp_path / "a" / f"{i}.parquet", part) for i, part in enumerate(parts)]
    with pytest.raises(FaultyInput, match=expected):
        write(manifest, shards, languages)
    assert not (tmp_path / "reasoning.parquet").exists()


def test_shards_of_one_folder_that_differ_are_refused(manifest: Path, tmp_path: Path, languages) -> None:
    names = list(TEXTS)
    shards = [shard(tmp_path / "a" / f"{i}.parquet", names[i::2], provenance=str(i)) for i in range(2)]
    with pytest.raises(UserError, match=r"1\.parquet: made by a different checkpoint"):
        write(manifest, shards, languages)


@given(
    hypothesis=st.text("ab あい,", max_size=60),
    reference=st.text("ab あい", max_size=12),
    unit=st.sampled_from(["word", "character"]),
)
def test_clipping_takes_the_first_units_whole(hypothesis: str, reference: str, unit: Any) -> None:
    most = 2 * len(units(reference, unit)) + 5
    clipped = clip_hypothesis(hypothesis, reference, unit)
    assert units(clipped, unit) == units(hypothesis, unit)[:most]
    assert hypothesis.strip().startswith(clipped)


def test_noise_is_what_the_configuration_requests(make_config, tmp_path: Path) -> None:
    plain, noisy = (make_config({"a": {"steps": 1}}, reasoning={"snr_db": snr}) for snr in (None, [3, 4]))
    generate_noises(tmp_path, seed=0, count=1)
    assert decoding_augmenter(plain, tmp_path, None) is None
    augmenter = decoding_augmenter(noisy, tmp_path, None)
    assert augmenter is not None
    assert (augmenter.probability, augmenter.snr_db, len(augmenter.noises)) == (1.0, (3.0, 4.0), 1)
    with pytest.raises(UserError, match=r"reasoning\.snr_db requires noise"):
        decoding_augmenter(noisy, None, None)
