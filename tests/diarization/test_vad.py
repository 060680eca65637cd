"""Detectors behind one interface: FSMN's limit is given where it has an effect, and what is missing is named."""

from __future__ import annotations

import itertools
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcslm.config.diarization import FSMN_MODEL
from mlcslm.diarization.fsmn import FILES
from mlcslm.diarization.silero import SileroDetector
from mlcslm.diarization.speech import SpeechSettings, speech_segments
from mlcslm.diarization.vad import make_detector
from mlcslm.errors import UserError
from mlcslm.formats.segments import Segment, in_pieces


@pytest.fixture
def funasr(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in for the package: what it was built with, and what it is to find (ms)."""
    calls: dict[str, Any] = {"value": []}

    class AutoModel:
        def __init__(self, **settings: Any) -> None:
            calls["built"] = settings

        def generate(self, **settings: Any) -> list[dict[str, Any]]:
            calls["generated"] = settings
            return [{"key": "a", "value": calls["value"]}]

    module = types.ModuleType("funasr")
    module.AutoModel = AutoModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "funasr", module)
    return calls


@pytest.fixture
def fsmn_folder(tmp_path: Path) -> Path:
    """A folder with the names of ModelScope's files."""
    for name in FILES:
        (tmp_path / name).touch()
    return tmp_path


def test_silero_is_made_by_name() -> None:
    detector = make_detector("silero", 8.0)
    assert isinstance(detector, SileroDetector) and detector.max_segment_s == 8.0


def test_fsmns_limit_is_given_when_it_is_built(funasr: dict[str, Any], fsmn_folder: Path) -> None:
    funasr["value"] = [[0, 8000], [8000, 16000], [18000, 21000]]
    detector = make_detector("fsmn", 8.0, str(fsmn_folder))
    found = detector(np.zeros(20 * 16_000, np.float32))
    # A frame less: it keeps to its limit but for one.
    assert funasr["built"]["max_single_segment_time"] == 7990
    assert funasr["built"]["model"] == str(fsmn_folder)
    assert "max_single_segment_time" not in funasr["generated"]
    assert found == [Segment(0.0, 8.0), Segment(8.0, 16.0), Segment(18.0, 20.0)]


def test_whatever_fsmn_finds_is_disjoint_and_short(funasr: dict[str, Any], fsmn_folder: Path) -> None:
    funasr["value"] = [[0, 9000], [8500, 10000], [10000, 10000]]
    found = make_detector("fsmn", 8.0, str(fsmn_folder))(np.zeros(20 * 16_000, np.float32))
    assert found == [Segment(0.0, 4.5), Segment(4.5, 9.0), Segment(9.0, 10.0)]


def test_fsmn_without_its_package_or_model(monkeypatch: pytest.MonkeyPatch, funasr, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        make_detector("fsmn", 8.0, str(tmp_path / "nowhere"))
    monkeypatch.setitem(sys.modules, "funasr", None)
    with pytest.raises(UserError, match=r"pip install 'mlcslm\[fsmn\]'"):
        make_detector("fsmn", 8.0)


@pytest.mark.parametrize(
    "layout",
    [FSMN_MODEL, f"hub/models/{FSMN_MODEL}", f"models/{FSMN_MODEL.replace('/', '--')}/snapshots/master"],
)
def test_fsmn_in_modelscopes_cache_is_given_as_its_folder(
    funasr: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """By its id, funasr would ask the hub for it again, and fail without a network (funasr 1.4.16)."""
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path))
    folder = tmp_path / layout
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match=r"lacks model\.pt, config\.yaml, am\.mvn; expected"):
        make_detector("fsmn", 8.0)
    for name in FILES:
        (folder / name).touch()
    make_detector("fsmn", 8.0)
    assert funasr["built"]["model"] == str(folder)


def test_fsmn_that_cannot_be_downloaded_says_what_to_fetch_and_where_to_name_it(
    funasr: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path))
    remedy = f" Run `modelscope download --model {FSMN_MODEL} --local_dir models/fsmn` on a machine with a network, "
    remedy += "copy that folder here and set vad_model: models/fsmn."

    def without_network(**settings: Any) -> None:
        print(f"Download: {FSMN_MODEL} failed!: no route to host")  # as funasr does; then it goes on without a model
        raise AssertionError("not registered.\nRegistered model keys (51): ...")

    monkeypatch.setattr(sys.modules["funasr"], "AutoModel", without_network)
    with pytest.raises(UserError) as failed:
        make_detector("fsmn", 8.0)
    assert str(failed.value) == f"vad_model {FSMN_MODEL}: the download failed (no route to host).{remedy}"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as refused:
        make_detector("fsmn", 8.0)
    assert str(refused.value) == (
        f"vad_model {FSMN_MODEL}: not in ModelScope's cache, and HF_HUB_OFFLINE is set.{remedy}"
    )


@pytest.mark.parametrize("milliseconds", [1, 1999, 2000, 2001, 4000, 4001, 7777])
def test_pieces_are_as_few_as_fit(milliseconds: int) -> None:
    pieces = in_pieces([Segment(1.0, 1 + milliseconds / 1000)], 2.0)
    assert len(pieces) == -(-milliseconds // 2000)
    assert (pieces[0].start, pieces[-1].end) == (1.0, pytest.approx(1 + milliseconds / 1000))
    assert all(a.end == b.start for a, b in itertools.pairwise(pieces))
    assert max(round(1000 * piece.duration) for piece in pieces) <= 2000


def test_every_key_of_a_detector_does_what_it_says() -> None:
    frames = np.float32([0] * 20 + [0.3] * 10 + [0.6] * 20 + [0.2] * 10 + [0.6] * 20 + [0] * 40)  # of 10 ms
    usual = SpeechSettings(onset=0.5, offset=0.5, min_pause_s=0.05, min_speech_s=0.0, padding_s=0.0)

    def found(**changes: float) -> list[tuple[float, float]]:
        segments = speech_segments(frames, 1200, replace(usual, **changes), frame_ms=10)
        return [(segment.start, segment.end) for segment in segments]

    assert found() == [(0.3, 0.5), (0.6, 0.8)]
    assert found(onset=0.25, offset=0.25) == [(0.2, 0.5), (0.6, 0.8)]
    assert found(offset=0.1) == [(0.3, 0.8)]
    assert found(min_pause_s=0.2) == [(0.3, 0.8)]
    assert found(min_speech_s=0.2) == []
    assert found(padding_s=0.03) == [(0.27, 0.53), (0.57, 0.83)]
    assert found(padding_s=0.2) == [(0.1, 0.55), (0.55, 1.0)]  # a pause is shared


def test_pauses_of_fsmn_are_bridged_and_its_speech_padded(funasr: dict[str, Any], fsmn_folder: Path) -> None:
    funasr["value"] = [[1000, 2000], [2300, 3000], [5000, 5100]]
    keys = {"min_pause_s": 0.4, "min_speech_s": 0.2, "padding_s": 0.1}
    detector = make_detector("fsmn", 8.0, str(fsmn_folder), **keys)
    assert detector(np.zeros(20 * 16_000, np.float32)) == [Segment(0.9, 3.1)]


def test_one_threshold_alone_takes_the_other_with_it() -> None:
    assert make_detector("silero", 8.0, onset=0.05).settings.offset == 0.05  # type: ignore[attr-defined]
    assert make_detector("silero", 8.0, offset=0.6).settings.onset == 0.6  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"offset is 0\.6; expected at most the onset"):
        make_detector("silero", 8.0, onset=0.5, offset=0.6)
