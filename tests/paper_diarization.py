"""The paper preset's diarization at toy size: its diarizers as they are, CAM++ and ERes2Net in public shapes with
random weights, a ResNet-101 to be trained, speaker corpora of tones, and an FSMN-VAD in ModelScope's layout.

Where the extra `fsmn` is not installed, a stand-in for funasr finds speech by its level.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import yaml

PRESET = Path(__file__).parents[1] / "config" / "paper.yaml"
CHECKPOINT_FILES = {"campplus": "campplus_cn_en_common.pt", "eres2net": "pretrained_eres2net_aug.ckpt"}
SPEAKERS = 2
MEAN, SPREAD = 12.0, 8.0
"""What FSMN's `am.mvn` takes off its log-mel, and divides it by."""

FSMN_CONFIG: dict[str, Any] = {
    "frontend": "WavFrontendOnline",
    "frontend_conf": {"fs": 16_000, "window": "hamming", "n_mels": 80, "frame_length": 25, "frame_shift": 10}
    | {"dither": 0.0, "lfr_m": 5, "lfr_n": 1},
    "model": "FsmnVADStreaming",
    "model_conf": {"sample_rate": 16_000, "max_end_silence_time": 800, "speech_noise_thres": 0.6, "snr_thres": -100.0}
    | {"decibel_thres": -100.0, "silence_pdf_num": 1, "sil_pdf_ids": [0], "max_single_segment_time": 60_000},
    "encoder": "FSMN",
    "encoder_conf": {"input_dim": 400, "input_affine_dim": 140, "fsmn_layers": 4, "linear_dim": 250, "proj_dim": 128}
    | {"lorder": 20, "rorder": 0, "lstride": 1, "rstride": 0, "output_affine_dim": 140, "output_dim": 248},
}
FSMN_CARD = '{"framework": "pytorch", "model": {"type": "funasr"}, "file_path_metas": {"init_param": "model.pt", '
FSMN_CARD += '"config": "config.yaml", "frontend_conf": {"cmvn_file": "am.mvn"}}}\n'

STAND_IN = '''"""A stand-in for funasr: speech is where a quarter of a second is loud, in pieces of the length given."""

from pathlib import Path

import numpy as np


class AutoModel:
    def __init__(self, model, max_single_segment_time, **settings):
        missing = [name for name in ("model.pt", "config.yaml", "am.mvn") if not (Path(model) / name).is_file()]
        if missing:
            raise FileNotFoundError(f"{model}: {missing}")
        self.longest = max_single_segment_time

    def generate(self, input, fs, cache):
        step = fs // 4
        frames = input[: len(input) // step * step].reshape(-1, step)
        loud = np.concatenate([[0], (np.sqrt((frames**2).mean(1)) > 0.005).astype(int), [0]])
        starts, ends = np.flatnonzero(np.diff(loud) == 1), np.flatnonzero(np.diff(loud) == -1)
        runs = []
        for start, end in zip(250 * starts, 250 * ends, strict=True):
            runs += [[int(at), int(min(end, at + self.longest))] for at in range(start, end, self.longest)]
        return [{"key": "a", "value": runs}]
'''


def paper_diarization(root: Path) -> dict[str, Any]:
    """Sections `speaker_corpora`, `embeddings` and `diarizers` of the paper preset, with their files below `root`.

    Changed are folders, the training's length and two sizes: ERes2Net is the smaller public one, as the preset's takes
    1.5 s of processor time a window, and ResNet-101 has a quarter of its width. Jobs need `packages(root)`.
    """
    import torch

    from mlcslm.speaker_embedding.networks import build_network

    preset = yaml.safe_load(PRESET.read_text(encoding="utf-8"))
    sections = {name: preset[name] for name in ("speaker_corpora", "embeddings", "diarizers")}
    rng = np.random.default_rng(5)
    for corpus in sections["speaker_corpora"].values():
        corpus["folder"] = str(root / corpus["folder"])
        _write_speakers(Path(corpus["folder"]), corpus.get("speakers", "*"), rng)
    torch.manual_seed(5)
    del sections["embeddings"]["eres2net"]["size"]
    sections["embeddings"]["resnet101"]["size"] = {"channels": 8}
    for name, embedding in sections["embeddings"].items():
        if "checkpoint" in embedding:
            folder = root / embedding["checkpoint"]
            folder.mkdir(parents=True)
            weights = build_network(embedding["network"], embedding.get("size")).state_dict()
            torch.save(weights, folder / CHECKPOINT_FILES[name])
            embedding["checkpoint"] = str(folder)
        else:
            embedding["training"] |= {"steps": 2, "batch_size": 2, "crop_s": 0.5}
    fsmn = root / "models" / "fsmn"
    _write_fsmn(fsmn)
    for diarizer in sections["diarizers"].values():
        diarizer["vad_model"] = str(fsmn)
    return sections


def packages(root: Path) -> str:
    """PYTHONPATH with a funasr: the one that is installed, or else the stand-in."""
    path = os.environ.get("PYTHONPATH", "")
    if importlib.util.find_spec("funasr") is not None:
        return path
    folder = root / "packages"
    folder.mkdir()
    (folder / "funasr.py").write_text(STAND_IN, encoding="utf-8")
    return os.pathsep.join(filter(None, [path, str(folder)]))


def _write_speakers(folder: Path, pattern: str, rng: np.random.Generator) -> None:
    """Two utterances of each speaker, of a second each, where `pattern` finds them."""
    import soundfile

    time = np.arange(16_000) / 16_000
    for speaker in range(SPEAKERS):
        for utterance in range(2):
            path = folder / pattern.replace("*", f"id{speaker:05}") / "video" / f"{utterance}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            voice = 0.2 * np.sin(2 * np.pi * (150 + 100 * speaker) * time) + rng.normal(0, 0.02, len(time))
            soundfile.write(path, voice, 16_000)


def _write_fsmn(folder: Path) -> None:
    """Random weights, and among them a path by which the level of the sound lowers the probability of silence."""
    import torch

    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(FSMN_CONFIG), encoding="utf-8")
    (folder / "configuration.json").write_text(FSMN_CARD, encoding="utf-8")
    rows = [("AddShift", -MEAN), ("Rescale", 1 / SPREAD)]
    numbers = [f"<{name}> 400 400\n<LearnRateCoef> 0 [ {' '.join([f'{value:g}'] * 400)} ]" for name, value in rows]
    text = "\n".join(["<Nnet>", "<Splice> 400 400", "[ 0 ]", *numbers, "</Nnet>", ""])
    (folder / "am.mvn").write_text(text, encoding="utf-8")

    sizes = FSMN_CONFIG["encoder_conf"]
    hidden, inner, affine = sizes["linear_dim"], sizes["proj_dim"], sizes["input_affine_dim"]
    shapes: dict[str, tuple[int, ...]] = {"in_linear1.linear": (affine, sizes["input_dim"])}
    shapes["in_linear2.linear"] = (hidden, affine)
    for layer in range(sizes["fsmn_layers"]):
        shapes[f"fsmn.{layer}.linear.linear"] = (inner, hidden)
        shapes[f"fsmn.{layer}.fsmn_block.conv_left"] = (inner, 1, sizes["lorder"], 1)
        shapes[f"fsmn.{layer}.affine.linear"] = (hidden, inner)
    shapes |= {"out_linear1.linear": (affine, hidden), "out_linear2.linear": (sizes["output_dim"], affine)}
    torch.manual_seed(6)
    state: dict[str, torch.Tensor] = {}
    for name, shape in shapes.items():
        weight = 0.01 * torch.randn(shape)
        weight[0] = 0
        if name == "in_linear1.linear":
            weight[0] = 1 / sizes["input_dim"]  # the mean level, relative to the usual one
        elif len(shape) == 2:
            weight[0, 0] = -20.0 if name == "out_linear2.linear" else 1.0
        state[f"encoder.{name}.weight"] = weight
        if len(shape) == 2 and not name.endswith(".linear.linear"):
            state[f"encoder.{name}.bias"] = torch.zeros(shape[0])
    # Silence is one of 248 classes: at the usual level it is as likely as all others together.
    state["encoder.out_linear2.linear.bias"][0] = 5.5
    torch.save(state, folder / "model.pt")
