"""Data files that pages load on demand: JavaScript, since pages on disk may not fetch anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_data(folder: Path, key: str, value: Any) -> None:
    """Write `value` as `<folder>/data/<key>.js`, which passes it to the page that loads it.

    The file holds JSON in a string: browsers parse that twice as fast as JavaScript literals, and nothing in it can be
    run. Raises ValueError for numbers that JSON does not have (nan, infinity).
    """
    path = folder / "data" / f"{key}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    path.write_text(f"mlcslm.put({_string(key)}, {_string(text)});\n", encoding="utf-8")


def _string(text: str) -> str:
    """A JavaScript string. Older browsers treat Unicode's line separators as line ends.

    >>> print(_string("it's"))
    'it\\'s'
    """
    for found, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(found, escaped)
    return "'" + text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029") + "'"
