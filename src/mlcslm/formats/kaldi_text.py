"""Kaldi text files: one utterance a line, its id, white space, its text."""

from __future__ import annotations

import os
from pathlib import Path

from mlcslm.errors import FaultyInput, UserError, shortened

SHOWN_FAULTS = 50


def read_kaldi_text(path: str | os.PathLike[str]) -> dict[str, str]:
    """Texts of a UTF-8 Kaldi text file by utterance id, in file order; a line with an id only has the empty text.

    Blank lines are skipped and a byte order mark is ignored. Raises UserError where there is no file, FaultyInput
    listing every line (the first 50) that is not UTF-8 or repeats an id.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file. Expected a Kaldi text file, `<utterance id> <text>` a line.")
    texts: dict[str, str] = {}
    first_lines: dict[str, int] = {}
    faults = []
    # Split at line feeds alone: str.splitlines would also cut at characters that a transcript may hold, as U+2028.
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            parts = line.decode("utf-8").strip().split(maxsplit=1)
        except UnicodeDecodeError as error:
            faults.append(
                f"{path}:{number}: found byte 0x{line[error.start]:02x} at column {error.start + 1}, expected UTF-8"
            )
            continue
        if not parts:
            continue
        utterance_id = parts[0]
        if utterance_id in texts:
            faults.append(f"{path}:{number}: {utterance_id} was given on line {first_lines[utterance_id]} already")
            continue
        texts[utterance_id] = parts[1] if len(parts) > 1 else ""
        first_lines[utterance_id] = number
    if faults:
        raise FaultyInput(f"{path}: {len(faults)} faulty lines; correct or remove:", shortened(faults, SHOWN_FAULTS))
    return texts
