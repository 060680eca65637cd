"""The corpus of voices that speaker embeddings are tested with."""

from __future__ import annotations

import importlib.util
from pathlib import Path

# Modules beside another folder's conftest cannot be imported by name with --import-mode=importlib.
_spec = importlib.util.spec_from_file_location(
    "voices_corpus", Path(__file__).parents[1] / "speaker_embedding/conftest.py"
)
assert _spec is not None and _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
voices = _module.voices
