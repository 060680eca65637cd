"""Kaldi text files: one utterance per line, as id, white space and text."""

from __future__ import annotations

import os
from pathlib import Path

from mlcslm.formats.parsing import name_fault, raise_faults, read_lines, rendered


def read_kaldi_text(path: str | os.PathLike[str]) -> dict[str, str]:
    """Texts of a UTF-8 Kaldi text file by utterance id, in file order; a line with just an id has the empty text.

    Blank lines are skipped and a byte order mark is ignored. Raises UserError if the file does not exist, FaultyInput
    listing every line (the first 50) that is not UTF-8 or repeats an id.
    """
    path = Path(path)
    lines, faults = read_lines(path, "a Kaldi text file, `<utterance id> <text>` per line", comments=False)
    texts: dict[str, str] = {}
    first_lines: dict[str, int] = {}
    for number, line in lines:
        utterance_id, *text = line.split(maxsplit=1)
        if fault := name_fault("id", utterance_id):
            faults.append(f"{path}:{number}: {fault}")
        elif utterance_id in texts:
            name = utterance_id if utterance_id.isprintable() else rendered(utterance_id)
            faults.append(f"{path}:{number}: {name} is already on line {first_lines[utterance_id]}")
        else:
            texts[utterance_id] = "".join(text)
            first_lines[utterance_id] = number
    raise_faults(path, faults)
    return texts
