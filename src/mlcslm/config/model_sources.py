"""Names of models in a configuration: a hub id or a folder, and whether its own code may run."""

from __future__ import annotations

import json
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
