"""Training of CTC heads on cached encoder outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mlcslm.config.decoding import CtcConfig
from mlcslm.errors import UserError
from mlcslm.io.files import sha256
from mlcslm.model.ctc import load_ctc_head
from mlcslm.training.ctc import train_ctc_head

_LETTERS = "abcdef"
_WIDTH = 8


@pytest.fixture
def spelled(tmp_path: Path) -> tuple[Path, Path, list[str]]:
    """A manifest and a cache whose frames spell the transcripts, a letter in three frames and a blank in one; texts."""
    rng = np.random.default_rng(0)
    code = rng.normal(size=(len(_LETTERS) + 1, _WIDTH))
    texts = ["".join(rng.choice(list(_LETTERS), rng.integers(1, 7))) for _ in range(60)]
    heard = [np.array([[1 + _LETTERS.index(c)] * 3 + [0] for c in text]).ravel() for text in texts]
    frames = [(code[one] + rng.normal(0, 0.1, (len(one), _WIDTH))).astype("float32") for one in heard]
    names = [f"u{number}" for number in range(len(texts))]
    manifest = tmp_path / "m.parquet"
    lengths = [len(one) for one in frames]
    pq.write_table(
        pa.table({"utterance_id": names, "start": [0.0] * 60, "end": [one / 50 for one in lengths], "text": texts}),
        manifest,
    )
    cache = tmp_path / "cache"
    cache.mkdir()
    content = np.concatenate(frames)
    content.tofile(cache / "frames.bin")
    index = {
        "utterance_id": names,
        "variant": [0] * 60,
        "first": np.cumsum([0, *lengths[:-1]]),
        "frames": lengths,
        "samples": [320 * one for one in lengths],
    }
    pq.write_table(pa.table(index), cache / "index.parquet")
    fields = {
        "dtype": "float32",
        "width": _WIDTH,
        "frames": len(content),
        "variants": 1,
        "encoder": "e",
        "adapters": "x",
    }
    (cache / "cache.json").write_text(json.dumps(fields | {"encoder_window": "full", "manifest": sha256(manifest)}))
    return manifest, cache, texts


def test_a_head_learns_to_spell_what_frames_say(spelled: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    manifest, cache, texts = spelled
    config = CtcConfig(steps=60, batch_size=16, learning_rate=0.1)
    train_ctc_head(tmp_path / "head", manifest, cache, config, seed=3)
    head = load_ctc_head(tmp_path / "head")
    assert set(head.alphabet) == set("".join(texts))
    frames = torch.from_numpy(np.fromfile(cache / "frames.bin", "float32").reshape(-1, _WIDTH))
    first = frames[: 4 * len(texts[0])]
    right, *others = head.score(first, [texts[0], texts[0][:-1], texts[0] + texts[0][-1], "f" + texts[0]])
    assert right > -1.0 > max(others) + 1.0


def test_the_same_seed_gives_the_same_head(spelled: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    manifest, cache, _ = spelled
    config = CtcConfig(steps=5, batch_size=16)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_ctc_head(tmp_path / name, manifest, cache, config, seed=seed)
    a, b, c = (sha256(tmp_path / name / "ctc.safetensors") for name in "abc")
    assert a == b != c


def test_faults_are_named(spelled: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    manifest, cache, _ = spelled
    with pytest.raises(UserError, match=r"60 utterances with text, but ctc\.batch_size is 64; lower it"):
        train_ctc_head(tmp_path / "head", manifest, cache, CtcConfig(), seed=0)
    other = tmp_path / "other.parquet"
    pq.write_table(pq.read_table(manifest).slice(1), other)
    with pytest.raises(UserError, match="made from another manifest"):
        train_ctc_head(tmp_path / "head", other, cache, CtcConfig(batch_size=4), seed=0)
    assert not (tmp_path / "head").exists()
