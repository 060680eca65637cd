"""Lhotse manifests: round trips, reading by Lhotse itself if it is installed, and faults."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from mlcslm.cli.convert import convert
from mlcslm.corpus.lhotse import write_lhotse_folder
from mlcslm.corpus.manifest import build_manifest
from mlcslm.errors import FaultyInput, UserError

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
CODES = {"English-American": "en", "French": "fr"}


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """Manifests as another project would have them."""
    folder = tmp_path / "data"
    folder.mkdir()
    soundfile.write(folder / "call1.flac", np.zeros((16_000 * 5, 2)), 16_000)
    write(folder, "recordings", {"id": "call1", "sources": [{"type": "file", "channels": [0], "source": "call1.flac"}]})
    common = {"recording_id": "call1", "channel": 0, "language": "fr"}
    write(
        folder,
        "supervisions",
        common | {"id": "u2", "start": 1.1, "duration": 2.2, "text": "Ça va ?", "speaker": "call1-B"},
        common | {"id": "u1", "start": 0, "duration": 1, "text": "Bonjour.", "speaker": "A"},
    )
    return folder


def write(folder: Path, kind: str, *entries: dict) -> None:
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    (folder / f"calls_{kind}_dev.jsonl").write_text(lines, encoding="utf-8")


def change(folder: Path, kind: str, **values: object) -> None:
    """Change the first entry of a file."""
    path = folder / f"calls_{kind}_dev.jsonl"
    first, *others = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    write(folder, kind, first | values, *others)


def test_a_manifest_comes_back_as_it_was(tones: Path, languages, tmp_path: Path) -> None:
    before = pq.read_table(tones)
    write_lhotse_folder(before.to_pylist(), tmp_path / "data", CODES)
    after, _ = build_manifest(tmp_path / "data", languages)
    assert after.equals(before.cast(after.schema))


def test_ends_survive_where_start_and_duration_do_not_add_up_to_them(tones: Path, languages, tmp_path: Path) -> None:
    (row, *_) = pq.read_table(tones).to_pylist()
    row |= {"start": 1.04525, "end": 3.757375}
    assert row["start"] + (row["end"] - row["start"]) != row["end"]
    write_lhotse_folder([row], tmp_path / "data", CODES)
    (found,) = build_manifest(tmp_path / "data", languages)[0].to_pylist()
    assert found["end"] == 3.757375


def test_the_same_manifest_gives_the_same_bytes(tones: Path, tmp_path: Path) -> None:
    rows = pq.read_table(tones).to_pylist()
    written = []
    for name in ("a", "b"):
        write_lhotse_folder(rows, tmp_path / name, CODES)
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert written[0] == written[1]


def test_convert_asks_for_the_languages_table_that_has_the_groups(tones: Path, tmp_path: Path) -> None:
    """The code that Lhotse gives a language comes from the table, so a group outside it cannot be written."""
    manifest, folder, table = tmp_path / "m.parquet", tmp_path / "data", tmp_path / "mine.tsv"
    before = pq.read_table(tones)
    renamed = ["Klingon" if group == "French" else group for group in before["grp"].to_pylist()]
    after = before.set_column(before.schema.get_field_index("grp"), "grp", pa.array(renamed))
    pq.write_table(after.replace_schema_metadata(before.schema.metadata), manifest)
    with pytest.raises(UserError) as refused:
        convert(manifest, folder, "lhotse", languages=LANGUAGES)
    assert str(refused.value).startswith(f"{manifest}: its groups Klingon are not in {LANGUAGES}.")
    assert not folder.exists()
    table.write_text(
        LANGUAGES.read_text(encoding="utf-8") + "Klingon\tKlingon\ttlh\t<LANG_KL>\tword\tyIghItlh\n", "utf-8"
    )
    convert(manifest, folder, "lhotse", languages=table)
    with gzip.open(folder / "supervisions.jsonl.gz", "rt", encoding="utf-8") as file:
        codes = {json.loads(line)["custom"]["group"]: json.loads(line)["language"] for line in file}
    assert codes == {"Klingon": "tlh", **{name: CODES[name] for name in set(renamed) - {"Klingon"}}}


def test_lhotse_reads_them(tones: Path, tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    rows = pq.read_table(tones).to_pylist()
    write_lhotse_folder(rows, tmp_path / "data", CODES)
    recordings = lhotse.RecordingSet.from_jsonl(tmp_path / "data" / "recordings.jsonl.gz")
    supervisions = lhotse.SupervisionSet.from_jsonl(tmp_path / "data" / "supervisions.jsonl.gz")
    lhotse.qa.validate_recordings_and_supervisions(recordings, supervisions)
    cuts = lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions).trim_to_supervisions()
    found = {cut.supervisions[0].id: cut for cut in cuts}
    assert found.keys() == {row["utterance_id"] for row in rows}
    for row in rows[:3]:
        cut = found[row["utterance_id"]]
        audio, rate = soundfile.read(row["audio"], dtype="float32")
        expected = audio[round(row["start"] * rate) : round(row["end"] * rate)]
        assert np.array_equal(cut.load_audio()[0], expected)
        assert cut.supervisions[0].text == row["text"]


def test_what_lhotse_wrote_is_read(external: Path, languages, tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    recording = lhotse.Recording.from_file(external / "call1.flac", recording_id="call1")
    supervision = lhotse.SupervisionSegment("x", "call1", 0.5, 1.25, channel=[0, 1], text="oui", language="fr")
    folder = tmp_path / "lhotse"
    folder.mkdir()
    lhotse.RecordingSet.from_recordings([recording]).to_file(folder / "c_recordings_dev.jsonl.gz")
    lhotse.SupervisionSet.from_segments([supervision]).to_file(folder / "c_supervisions_dev.jsonl.gz")
    (row,) = build_manifest(folder, languages)[0].to_pylist()
    assert (row["utterance_id"], row["start"], row["end"], row["text"]) == ("x", 0.5, 1.75, "oui")


def test_an_external_corpus_becomes_a_manifest(external: Path, languages) -> None:
    first, second = build_manifest(external, languages)[0].to_pylist()
    assert (first["utterance_id"], first["turn"], first["start"], first["end"]) == ("u1", 0, 0.0, 1.0)
    assert (second["speaker"], second["grp"], second["text"]) == ("B", "French", "Ça va ?")
    assert second["audio"] == str(external / "call1.flac")
    assert second["end"] == pytest.approx(3.3)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("recordings", {"sources": [{"type": "command", "source": "touch ran"}]}, "sources other than a single file"),
        ("recordings", {"sources": [{"type": "url", "source": "http://x/a.wav"}]}, "sources other than a single file"),
        ("recordings", {"sources": []}, "sources other than a single file"),
        ("recordings", {"sources": [{"type": "file", "source": "nowhere.wav"}]}, "no such file"),
        ("recordings", {"transforms": [{"name": "Speed", "kwargs": {"factor": 1.1}}]}, "is transformed (Speed 1.1)"),
        ("recordings", {"sampling_rate": 8000}, "8000 Hz declared, but the file has 16000 Hz"),
        ("recordings", {"duration": 10.0}, "10 s declared, but the file lasts 5 s"),
        ("recordings", {"sampling_rate": 16000, "num_samples": 8000}, "0.5 s declared, but the file lasts 5 s"),
        ("recordings", {"id": None}, "expected a name"),
        ("supervisions", {"text": "half \ud83d"}, "contains a lone surrogate (U+D83D)"),
        ("supervisions", {"start": 10**400}, "expected times in seconds"),
        ("supervisions", {"start": True}, "expected times in seconds"),
        ("supervisions", {"duration": "long"}, "duration 'long': expected times in seconds"),
        ("supervisions", {"duration": 60}, "past the end of the audio"),
        ("supervisions", {"duration": 0}, "expected later than its start"),
        ("supervisions", {"recording_id": "call7"}, "its recording call7 is not listed"),
        ("supervisions", {"language": None}, "begins with no group"),
        ("supervisions", {"id": "u1"}, "already on line 1"),
    ],
)
def test_faults_are_named_by_file_and_line(external: Path, languages, kind: str, values, message: str) -> None:
    change(external, kind, **values)
    with pytest.raises(FaultyInput) as caught:
        build_manifest(external, languages)
    assert any(f"calls_{kind}_dev.jsonl:" in line and message in line for line in str(caught.value).splitlines())
    if kind == "recordings" and ("transforms" in values or "sources" in values):
        assert len(caught.value.faults) == 1, "what is of the recording is said once, and not of each supervision"


def test_cuts_alone_are_told(external: Path, languages) -> None:
    (external / "calls_recordings_dev.jsonl").unlink()
    (external / "calls_supervisions_dev.jsonl").rename(external / "cuts_dev.jsonl")
    with pytest.raises(UserError, match=r"cuts_dev\.jsonl: found Lhotse cuts, .* `lhotse cut decompose cuts_dev"):
        build_manifest(external, languages)


def test_what_is_declared_and_true_is_taken(external: Path, languages) -> None:
    change(external, "recordings", sampling_rate=16000, num_samples=80_000, duration=5.0, transforms=None)
    assert build_manifest(external, languages)[0].num_rows == 2


def test_half_a_character_in_bytes_is_named(external: Path, languages) -> None:
    path = external / "calls_supervisions_dev.jsonl"
    path.write_bytes(path.read_bytes().replace(b"u1", b"u\xed\xa0\xbd1"))  # UTF-8 has no halves of a pair
    with pytest.raises(FaultyInput, match=r"calls_supervisions_dev\.jsonl:2: is not JSON \('utf-8' codec"):
        build_manifest(external, languages)


def test_lines_that_are_no_entries_are_named(external: Path, languages) -> None:
    path = external / "calls_supervisions_dev.jsonl"
    path.write_text(path.read_text() + '{"id": "u3"}\n[1]\n{oops\n')
    with pytest.raises(FaultyInput) as caught:
        build_manifest(external, languages)
    faults = str(caught.value)
    assert ":3: lacks recording_id, start, duration" in faults
    assert ":4: lacks id" in faults
    assert ":5: is not JSON" in faults


def test_several_splits_in_one_folder_and_damaged_files_are_told(external: Path, languages) -> None:
    (external / "calls_recordings_test.jsonl.gz").write_bytes(gzip.compress(b"")[:-4])
    with pytest.raises(UserError, match=r"expected one file of recordings \(one folder per split\)"):
        build_manifest(external, languages)
    (external / "calls_recordings_dev.jsonl").unlink()
    with pytest.raises(UserError, match=r"calls_recordings_test.jsonl.gz: cannot be read"):
        build_manifest(external, languages)
