"""The segmentation network: filters, strict loading without unpickling, speakers kept from stretch to stretch."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mlcslm.diarization.segmentation import (
    FRAME_MS,
    STRETCH_SAMPLES,
    SegmentationDetector,
    SpeakerActivity,
    speaker_activity,
    speaker_changes,
)
from mlcslm.diarization.segmentation_network import (
    CLASSES,
    FIELD_SAMPLES,
    STEP_SAMPLES,
    SegmentationNetwork,
    SincFilters,
    load_segmentation,
)
from mlcslm.diarization.vad import DEFAULTS, make_detector
from mlcslm.errors import FaultyInput, UserError

RATE = 16_000


def test_filters_pass_their_band_alone() -> None:
    filters = SincFilters()
    with torch.no_grad():
        filters.low_hz_[:] = 950.0  # 50 Hz more is the lowest edge
        filters.band_hz_[:] = 950.0
    response = np.abs(np.fft.rfft(filters().detach().numpy()[:, 0], n=RATE, axis=1))  # 1 Hz a bin
    assert response.shape[0] == 80
    for one in (response[0], response[40]):  # cosine and sine of the same band
        inside, outside = one[1200:1800], np.concatenate([one[100:800], one[2200:7900]])
        assert inside.min() > 20 * outside.max()


def test_one_frame_every_270_samples() -> None:
    network = SegmentationNetwork().eval()
    with torch.inference_mode():
        for samples in (STRETCH_SAMPLES, FIELD_SAMPLES + STEP_SAMPLES, FIELD_SAMPLES + 5 * STEP_SAMPLES):
            found = network(torch.randn(2, samples))
            assert found.shape == (2, 1 + (samples - FIELD_SAMPLES) // STEP_SAMPLES, 7)
            torch.testing.assert_close(found.sum(dim=-1), torch.ones(found.shape[:2]))
    assert CLASSES == ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))


class Harmful:
    """Unpickled, it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_checkpoints_load_strictly(tmp_path: Path) -> None:
    weights = SegmentationNetwork().state_dict()
    path = tmp_path / "pytorch_model.bin"
    torch.save({"state_dict": weights, "hyper_parameters": {"lstm": {"num_layers": 4}}}, path)
    for source in (path, tmp_path):
        found = load_segmentation(source).state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())
    torch.save(
        {name: tensor for name, tensor in weights.items() if name != "classifier.bias"}
        | {"more": weights["classifier.bias"]},
        path,
    )
    with pytest.raises(FaultyInput, match="is no checkpoint of pyannote/segmentation") as caught:
        load_segmentation(path)
    assert "lacks classifier.bias" in str(caught.value) and "has more" in str(caught.value)
    torch.save(weights | {"classifier.bias": torch.zeros(5)}, path)
    with pytest.raises(FaultyInput, match=r"classifier.bias is \(5,\), expected \(7,\)"):
        load_segmentation(path)


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    path, target = tmp_path / "pytorch_model.bin", tmp_path / "harm"
    torch.save({"state_dict": SegmentationNetwork().state_dict(), "more": Harmful(target)}, path)
    with pytest.raises(UserError, match="cannot be read as weights"):
        load_segmentation(path)
    assert not target.exists()
    path.write_bytes(pickle.dumps({"a": 1})[:-3])
    with pytest.raises(UserError, match="cannot be read as weights"):
        load_segmentation(path)


@pytest.mark.parametrize("source", ["/nowhere", "./nowhere"])
def test_a_missing_checkpoint_is_named(source: str) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        make_detector("segmentation", 8.0, source)


class Heard(nn.Module):
    """In place of the network: speaker by level of the samples, numbered anew, and otherwise, in each stretch."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        frames = 1 + (waveforms.shape[1] - FIELD_SAMPLES) // STEP_SAMPLES
        levels = waveforms.unfold(1, FIELD_SAMPLES, STEP_SAMPLES)[..., FIELD_SAMPLES // 2]
        found = torch.zeros(len(waveforms), frames, 7)
        for row in range(len(waveforms)):
            order = [1 + (speaker + self.calls) % 3 for speaker in range(3)]
            self.calls += 1
            classes = torch.tensor([0, *order])[(levels[row] * 10).round().long()]
            found[row, torch.arange(frames), classes] = 1.0
        return found


def test_speakers_keep_their_place_from_stretch_to_stretch() -> None:
    levels = np.tile(np.repeat([0.1, 0.2, 0.0], [2 * RATE, RATE, RATE // 2]), 12)  # 42 s
    activity = speaker_activity(Heard(), levels.astype(np.float32))  # type: ignore[arg-type]
    expected = np.round(10 * levels[STEP_SAMPLES // 2 :: STEP_SAMPLES][: len(activity.speech)]).astype(int)
    assert len(activity.speech) == -(-len(levels) // STEP_SAMPLES)
    agree = [(activity.speech > 0.5) == (expected > 0)]
    first, second = (int(activity.speakers[expected == one].sum(axis=0).argmax()) for one in (1, 2))
    assert first != second
    agree += [(activity.speakers.argmax(axis=1) == place)[expected == one] for place, one in ((first, 1), (second, 2))]
    # All but frames across a change.
    assert all(one.mean() > 0.98 for one in agree)


def test_changes_lie_where_the_speaker_does() -> None:
    speakers = np.zeros((100, 3), np.float32)
    speakers[:40, 0] = speakers[40:42, 2] = speakers[42:60, 0] = speakers[65:100, 1] = 1.0
    speech = speakers.sum(axis=1)
    speech[60:65] = 0.4, 0.3, 0.1, 0.3, 0.4
    # Two frames of somebody (34 ms) are no change; the pause between two speakers is cut where it is quietest.
    assert speaker_changes(SpeakerActivity(speech, speakers), 0.1) == [62]
    assert speaker_changes(SpeakerActivity(speech, speakers), 0.0) == [40, 42, 62]


@pytest.mark.parametrize("samples", [0, 1, 400, 8000, 200_000])
def test_recordings_of_any_length_are_heard(samples: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(SegmentationNetwork().state_dict(), tmp_path / "pytorch_model.bin")
    detector = SegmentationDetector(8.0, DEFAULTS["segmentation"], tmp_path)
    noise = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    for segment in detector(noise):
        assert 0 <= segment.start < segment.end <= samples / RATE
        assert segment.duration <= 8.0
    assert FRAME_MS == 16.875
