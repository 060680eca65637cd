"""Names of models in a configuration: a hub id or a folder, and whether its own code may run."""

from __future__ import annotations

import json
import os
from pathlib import Path

REMOTE_CODE = "remote-code:"
"""Before the name of a language model or recogniser, and nowhere else, this lets Python code that comes with it run."""


def split_source(source: str) -> tuple[str, bool]:
    """The hub id or folder that `source` names, and whether the model's own code may run.

    >>> split_source("Tower-Babel/Babel-9B-Chat"), split_source("remote-code:some/model")
    (('Tower-Babel/Babel-9B-Chat', False), ('some/model', True))
    """
    return source.removeprefix(REMOTE_CODE), source.startswith(REMOTE_CODE)


_TOKENIZERS = ("tokenizer.json", "vocab.json", "tekken.json", "*.model", "vocab.txt")
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


def missing_model_files(folder: Path) -> list[str]:
    """What a recogniser's folder lacks of what transformers loads from one; empty if nothing.

    Of several weight files, each that their index names counts.
    """
    wanted = [("config.json",), ("*.safetensors",), _PROCESSORS, _TOKENIZERS]
    missing = [" or ".join(names) for names in wanted if not any(any(folder.glob(name)) for name in names)]
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        shards = sorted(set(index["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError):
        return missing
    return missing + [name for name in shards if not (folder / name).is_file()]


def modelscope_folder(name: str) -> Path | None:
    """The folder of model `name` in ModelScope's cache, None where it is not there.

    Its client has changed the layout: models lie below `OWNER/NAME`, with dots as `___`, and since 1.38 in
    `OWNER--NAME/snapshots/REVISION`.
    """
    cache = Path(os.environ.get("MODELSCOPE_CACHE", "~/.cache/modelscope")).expanduser()
    for place in ("", "hub", "models", "hub/models"):
        for folder in (cache / place / name, cache / place / name.replace(".", "___")):
            if folder.is_dir():
                return folder
        revisions = cache / place / name.replace("/", "--") / "snapshots"
        if revisions.is_dir():
            found = sorted(path for path in revisions.iterdir() if path.is_dir())
            return next((path for path in found if path.name in ("master", "main")), found[-1] if found else None)
    return None


def fsmn_remedy(name: str) -> str:
    """What to do where FSMN-VAD `name`, a hub id or a folder, is missing."""
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or Path(name).parent.is_dir():
        return "Expected a folder with model.pt, config.yaml and am.mvn"
    return (
        f"Run `modelscope download --model {name} --local_dir models/fsmn` on a machine with a network, copy that "
        "folder here and set vad_model: models/fsmn"
    )
