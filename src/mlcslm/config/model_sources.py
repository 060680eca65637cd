"""Names of foundation models in a configuration: a hub id or a folder, and whether its own code may be run."""

from __future__ import annotations

REMOTE_CODE = "remote-code:"
"""In front of a language model's name, and nowhere else, it lets the Python code that comes with its weights run."""


def split_source(source: str) -> tuple[str, bool]:
    """The hub id or folder that `source` names, and whether it asks for the model's own code to be run.

    >>> split_source("Tower-Babel/Babel-9B-Chat"), split_source("remote-code:some/model")
    (('Tower-Babel/Babel-9B-Chat', False), ('some/model', True))
    """
    return source.removeprefix(REMOTE_CODE), source.startswith(REMOTE_CODE)
