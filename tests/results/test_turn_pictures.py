"""Pictures of turns: the right bars in the right places, in colours that pair speakers."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlcslm.corpus.manifest import SCHEMA
from mlcslm.formats.rttm import write_rttm
from mlcslm.formats.segments import Segment
from mlcslm.report.turn_pictures import draw_sessions, draw_turns

SVG = "{http://www.w3.org/2000/svg}"
REFERENCE = [Segment(0.0, 10.0, "O1"), Segment(10.0, 30.0, "O2"), Segment(55.0, 65.0, "O1")]
FOUND = [Segment(0.0, 11.0, "S2"), Segment(11.0, 30.0, "S1"), Segment(40.0, 41.0, "S3")]


def bars(picture: str) -> dict[str, list[ElementTree.Element]]:
    """Bars by their titles' speakers."""
    found: dict[str, list[ElementTree.Element]] = {}
    for bar in ElementTree.fromstring(picture).iter(f"{SVG}rect"):
        if (title := bar.find(f"{SVG}title")) is not None:
            found.setdefault(title.text.split()[0], []).append(bar)
    return found


def test_a_turn_is_as_long_as_it_lasts_and_goes_on_in_the_next_line() -> None:
    drawn = bars(draw_turns("French_0001", REFERENCE, FOUND))
    seconds = [float(bar.get("width")) for bar in drawn["O1"]]
    assert seconds == [pytest.approx(2 * seconds[1], abs=0.02), seconds[1], pytest.approx(seconds[1])]
    first, end_of_line, next_line = drawn["O1"]
    assert float(first.get("y")) == float(end_of_line.get("y")) < float(next_line.get("y"))
    assert first.get("x") == next_line.get("x")
    assert float(drawn["O2"][0].get("width")) == pytest.approx(2 * seconds[0], abs=0.02)


def test_speakers_have_the_colours_of_those_they_are() -> None:
    colours = {name: found[0].get("fill") for name, found in bars(draw_turns("a", REFERENCE, FOUND)).items()}
    assert colours["S2"] == colours["O1"] and colours["S1"] == colours["O2"]
    assert colours["S3"] not in (colours["O1"], colours["O2"])


@pytest.mark.parametrize(("reference", "found"), [([], []), (REFERENCE, []), ([], FOUND)])
def test_one_side_may_be_empty(reference: list[Segment], found: list[Segment]) -> None:
    speakers = {turn.speaker for turn in (*reference, *found)}
    assert set(bars(draw_turns("a & b", reference, found))) == speakers


def test_each_diarized_session_has_a_picture(tmp_path: Path) -> None:
    usual = {"grp": "French", "turn": 0, "audio": "a.wav", "sample_rate": 16_000, "text": ""}
    rows = [
        usual
        | {"utterance_id": f"{name}-{turn.start}", "session_id": name}
        | {"speaker": turn.speaker, "start": turn.start, "end": turn.end}
        for name in ("French_1", "French_2", "French_left_out")
        for turn in REFERENCE
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), tmp_path / "dev.parquet")
    write_rttm(tmp_path / "rttm" / "French_1.rttm", {"French_1": FOUND})
    write_rttm(tmp_path / "rttm" / "French_2.rttm", {"French_2": []})
    draw_sessions(tmp_path / "dev.parquet", tmp_path / "rttm", tmp_path / "pictures")
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["French_1.svg", "French_2.svg"]
    assert (tmp_path / "pictures" / "French_1.svg").read_text() == draw_turns("French_1", REFERENCE, FOUND)
