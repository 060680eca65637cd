"""Names of foundation models in a configuration: a hub id or a folder, and whether its own code may run."""

from __future__ import annotations

REMOTE_CODE = "remote-code:"
"""Before a language model's name, and nowhere else, this prefix allows the Python code shipped with its weights."""


def split_source(source: str) -> tuple[str, bool]:
    """The hub id or folder that `source` names, and whether the model's own code may run.

    >>> split_source("Tower-Babel/Babel-9B-Chat"), split_source("remote-code:some/model")
    (('Tower-Babel/Babel-9B-Chat', False), ('some/model', True))
    """
    return source.removeprefix(REMOTE_CODE), source.startswith(REMOTE_CODE)
