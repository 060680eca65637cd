"""Inputs that a configuration needs and the workflow cannot produce: which are missing, where to get them, and what of
the configuration cannot run without them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mlcslm.config.diarization import FSMN_MODEL, SEGMENTATION_MODEL
from mlcslm.config.model_sources import fsmn_remedy, missing_model_files, modelscope_folder, split_source
from mlcslm.config.schema import Config

_SPLITS = {
    "train": ("the challenge's training sessions", "for all training"),
    "dev": ("the challenge's development sessions", "for all tables"),
    "test": ("the challenge's evaluation sessions", "for Tables 6 and 7"),
}
_AUGMENTATION = {
    "noise": "MUSAN, as unpacked (openslr.org/17)",
    "room_responses": "RIRS_NOISES, as unpacked (openslr.org/28)",
}
_EMBEDDINGS = {
    "campplus": "3D-Speaker's CAM++, such as campplus_cn_en_common.pt of ModelScope's "
    "iic/speech_campplus_sv_zh_en_16k-common_advanced",
    "eres2net": "3D-Speaker's ERes2Net, such as pretrained_eres2net_aug.ckpt of ModelScope's "
    "iic/speech_eres2net_sv_zh-cn_16k-common",
    "resnet101": "WeSpeaker's ResNet-101 (avg_model.pt)",
}


@dataclass(frozen=True)
class MissingInput:
    """A missing input: its key and value in the configuration, what provides it, what needs it.

    diarizers: of an optional input, those that cannot run without it; empty for one that the whole run needs.
    """

    key: str
    value: str
    provider: str
    purpose: str
    diarizers: tuple[str, ...] = ()
    recognizers: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.key} = {self.value}: {self.provider}; {self.purpose}"


def missing_inputs(config: Config) -> list[MissingInput]:
    """Folders, models and packages that `config` names and this machine lacks, in file order.

    A hub id counts as present if it is in this machine's cache, since jobs on nodes without a network cannot download
    it. Only folder names are looked at; no file is read.
    """
    return [
        *_corpus(config),
        *_augmentation(config),
        *_models(config),
        *_recognizers(config),
        *_speakers(config),
        *_diarizers(config),
    ]


def available(
    config: Config,
    done: Callable[[str], bool] = lambda diarizer: False,
    heard: Callable[[str], bool] = lambda recognizer: False,
) -> tuple[Config, list[MissingInput]]:
    """`config` without the diarizers and recognisers that cannot run on this machine, and what they lack.

    done: whether a diarizer has found its segments before, so that nothing it lacks is needed any more; heard: whether
    a recogniser has transcribed everything before, likewise. A diarizer whose recogniser is left out is left out too.
    Everything else of a configuration is needed by all of it, and stays: a job that lacks it stops and says so.
    """
    missing = []
    for one in missing_inputs(config):
        recognizers = tuple(name for name in one.recognizers if not heard(name))
        if one.recognizers:
            users = config.diarizers.items()
            waiting = tuple(name for name, diarizer in users if diarizer.asr.recognizer in recognizers)
        else:
            waiting = tuple(name for name in one.diarizers if not done(name))
        if waiting or recognizers:
            missing.append(replace(one, diarizers=waiting, recognizers=recognizers))
    if not missing:
        return config, missing
    lost = {name for one in missing for name in (*one.diarizers, *one.recognizers)}
    kept = {
        "diarizers": {name: diarizer for name, diarizer in config.diarizers.items() if name not in lost},
        "recognizers": {name: recognizer for name, recognizer in config.recognizers.items() if name not in lost},
    }
    return config.model_copy(update=kept), missing


def describe_missing_inputs(config: Config) -> str:
    """A message that names every missing input that all of `config` needs, and what provides it; empty if none is."""
    missing = [one for one in missing_inputs(config) if not one.diarizers and not one.recognizers]
    if not missing:
        return ""
    title = f"missing {len(missing)} input(s) of preset {config.preset!r}"
    advice = "A job that needs one stops and names it; docs/fullsize.md says where to put them"
    return "\n".join([f"{title}. {advice}:", *(f"  {one}" for one in missing)])


def _corpus(config: Config) -> Iterator[MissingInput]:
    for split, folder in config.corpus.folders.items():
        what, purpose = _SPLITS[split]
        if not Path(folder).is_dir():
            provider = f"{what} from its organisers, or your own sessions in that layout (docs/corpus.md)"
            yield MissingInput(f"corpus.folders.{split}", folder, provider, purpose)


def _augmentation(config: Config) -> Iterator[MissingInput]:
    for key, provider in _AUGMENTATION.items():
        folder = getattr(config.augmentation, key)
        if folder is not None and config.augmentation.probability > 0 and not Path(folder).is_dir():
            yield MissingInput(f"augmentation.{key}", folder, provider, "for all training")


def _models(config: Config) -> Iterator[MissingInput]:
    if not config.stages:
        return
    for key, what in (("encoder", "a Whisper checkpoint"), ("language_model", "a causal language model")):
        name, _ = split_source(getattr(config.models, key))
        if not Path(name).is_dir() and not _in_hub_cache(name):
            yield MissingInput(f"models.{key}", name, f"{what}, {_download(name)}", "for all stages")


def _recognizers(config: Config) -> Iterator[MissingInput]:
    for name, recognizer in config.recognizers.items():
        source, _ = split_source(recognizer.model)
        folder, key, purpose = Path(source), f"recognizers.{name}.model", "for Tables 6 and 7"
        if folder.is_dir():
            if lacking := missing_model_files(folder):
                provider = f"this folder lacks {', '.join(lacking)}; copy the whole model again"
                yield MissingInput(key, source, provider, purpose, recognizers=(name,))
        elif not _in_hub_cache(source):
            provider = f"a speech recogniser, {_download(source)}"
            yield MissingInput(key, source, provider, purpose, recognizers=(name,))


def _speakers(config: Config) -> Iterator[MissingInput]:
    for name, corpus in config.speaker_corpora.items():
        embeddings = [embedding for embedding, one in config.embeddings.items() if name in one.corpora]
        needing = _diarizers_with(config, *embeddings)
        if needing and not Path(corpus.folder).is_dir():
            provider = corpus.source or "a corpus of speakers (docs/embeddings.md)"
            purpose = f"for embedding {', '.join(embeddings)}"
            yield MissingInput(f"speaker_corpora.{name}.folder", corpus.folder, provider, purpose, needing)


def _diarizers(config: Config) -> Iterator[MissingInput]:
    purpose = "for Tables 5 and 7"
    for name, embedding in config.embeddings.items():
        source, needing = embedding.checkpoint, _diarizers_with(config, name)
        if needing and source is not None and not Path(source).exists() and not _in_hub_cache(source):
            provider = f"{_EMBEDDINGS[embedding.network]}, in that folder"
            yield MissingInput(f"embeddings.{name}.checkpoint", source, provider, purpose, needing)
    for name, diarizer in config.diarizers.items():
        model = diarizer.vad_model or SEGMENTATION_MODEL
        if diarizer.vad == "segmentation" and not Path(model).exists() and not _in_hub_cache(model):
            provider = f"{SEGMENTATION_MODEL}, {_download(SEGMENTATION_MODEL)}, or its folder"
            yield MissingInput(f"diarizers.{name}.vad_model", model, provider, purpose, (name,))
    detectors = {name: diarizer for name, diarizer in config.diarizers.items() if diarizer.vad == "fsmn"}
    if not detectors:
        return
    if importlib.util.find_spec("funasr") is None:
        provider = "the package funasr: pip install 'mlcslm[fsmn]' (or set vad: silero)"
        yield MissingInput(f"diarizers.{next(iter(detectors))}.vad", "fsmn", provider, purpose, tuple(detectors))
    for model in dict.fromkeys(diarizer.vad_model or FSMN_MODEL for diarizer in detectors.values()):
        if not Path(model).is_dir() and modelscope_folder(model) is None:
            those = tuple(name for name, one in detectors.items() if (one.vad_model or FSMN_MODEL) == model)
            provider = f"FSMN-VAD. {fsmn_remedy(model)}"
            yield MissingInput(f"diarizers.{those[0]}.vad_model", model, provider, purpose, those)


def _diarizers_with(config: Config, *embeddings: str) -> tuple[str, ...]:
    return tuple(name for name, diarizer in config.diarizers.items() if diarizer.embedding in embeddings)


def _download(name: str) -> str:
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return f"`hf download {name}` on a machine with a network"
    return "config.json and *.safetensors in that folder"


def _in_hub_cache(name: str) -> bool:
    home = os.environ.get("HF_HOME", f"{os.environ.get('XDG_CACHE_HOME', '~/.cache')}/huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE", f"{home}/hub")).expanduser()
    return (cache / f"models--{name.replace('/', '--')}" / "snapshots").is_dir()
