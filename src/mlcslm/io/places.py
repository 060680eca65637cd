"""What may be written where: a path that a user named is only emptied or replaced if its content is ours.

docs/cli.md has the rules for users.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlcslm.errors import UserError

MARKER = ".mlcslm"
"""File in each output folder that a user named: the folder's kind, and its files with their sizes in bytes."""

# A model's name may have the prefix `remote-code:`.
_HOME = re.compile(r"((?:[a-z-]+:)?)(~[^/]*(?:/.*)?)", re.DOTALL)


def check_output_file(
    path: str | os.PathLike[str], *, begins: bytes = b"", inputs: Iterable[str | os.PathLike[str]] = ()
) -> Path:
    """Where a file `path` would be written: the path itself, its link target, or the device or pipe that it is.

    begins: the first bytes of our files; a file that begins otherwise is not replaced; inputs: what the output is made
    from. Raises UserError for a folder, an input, a write-protected file, a file that is not ours, a socket, and the
    pipe or terminal that messages go to.
    """
    path = Path(path)
    _refuse_tilde(path)
    target = resolved(path)
    try:
        status = path.stat()
    except FileNotFoundError:
        return target
    except NotADirectoryError:
        raise UserError(f"{path}: one of its parent folders is a file. Name another path.") from None
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{path}: is an existing folder, expected a file's name; nothing was changed.")
    if stat.S_ISSOCK(status.st_mode) or stat.S_ISBLK(status.st_mode):
        raise UserError(f"{path}: is a socket or a disk. Name a file.")
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode):
        _refuse_standard_output(path, status)
        return path
    if str(path).startswith(("/dev/", "/proc/")):
        raise UserError(f"{path}: refers to a file that another process has open. Name the file itself.")
    if any(_same(path, one) for one in inputs):
        raise UserError(f"{path}: is an input, and would be overwritten. Name another file.")
    if not status.st_mode & 0o222:
        raise UserError(f"{path}: is write-protected. Allow writing (chmod u+w), or name another file.")
    if begins and status.st_size:
        with open(path, "rb") as file:
            if file.read(len(begins)) != begins:
                raise UserError(
                    f"{path}: exists, and was not written by mlcslm. Name another file, or delete this one; "
                    "nothing was changed."
                )
    return target


def check_output_folder(
    path: str | os.PathLike[str],
    kind: str,
    *,
    own: Sequence[str] = (),
    sign: str = MARKER,
    force: bool = False,
    inputs: Sequence[str | os.PathLike[str]] = (),
) -> Path:
    """Where a folder `path` would be written: the path itself, or its link target.

    kind: what the folder is, in a word or two. A folder that a user named is recognised by its marker or, if an earlier
    version wrote it, by the file `sign`; force: replace it even if files were added since. own: for a folder inside the
    results, fnmatch patterns of all that it can contain. inputs: what the output is made from. Raises UserError for a
    file, for any other folder that is not empty, and if an input would be replaced with it.
    """
    path = Path(path)
    _refuse_tilde(path)
    target = resolved(path)
    if any(one == target or target in one.parents for one in map(resolved, inputs)):
        raise UserError(f"{path}: contains an input. Name another folder; nothing was changed.")
    if not target.exists():
        return target
    if not target.is_dir():
        raise UserError(f"{path}: is a file, expected a new folder; nothing was changed.")
    found = _files(target)
    if not found and not any(target.iterdir()):
        return target
    if own:
        if others := [name for name in found if "/" in name or not any(fnmatch.fnmatchcase(name, one) for one in own)]:
            raise UserError(
                f"{path}: is reserved for a {kind}, but contains {_some(others)}. Move that away and run again."
            )
        return target
    marker = _read_marker(target)
    if marker is None and (target / sign).is_file():
        marker = {"kind": kind}
    if marker is None or marker.get("kind") != kind:
        raise UserError(
            f"{path}: is an existing folder, but not a {kind} written by mlcslm. Name a new folder, or move it away; "
            "nothing was changed."
        )
    known = marker.get("files", {})
    if not force and (others := [name for name, size in found.items() if known.get(name) != size]):
        raise UserError(
            f"{path}: is a {kind} written by mlcslm, but files were added or changed since: {_some(others)}. Name a "
            "new folder, move those files away, or replace everything with --force; nothing was changed."
        )
    return target


def resolved(path: str | os.PathLike[str]) -> Path:
    """The path with links resolved; it need not exist. Raises UserError for links that lead back to themselves."""
    found = Path(os.path.realpath(path))
    if found.is_symlink():
        raise UserError(f"{path}: is a link that leads back to itself. Name another path.")
    return found


def _some(names: Sequence[str], rendered: int = 3) -> str:
    return ", ".join(names[:rendered]) + (f" and {len(names) - rendered} more" if len(names) > rendered else "")


def _same(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def expand_tildes(values: Any) -> Any:
    """`values`, including nested mappings and lists, with the home folder for a leading `~/` or `~user/` in strings.

    >>> expand_tildes({"a": ["~/b" , "a ~/b", 1]}) == {"a": [os.path.expanduser("~/b"), "a ~/b", 1]}
    True
    """
    if isinstance(values, str):
        found = _HOME.fullmatch(values)
        return values if found is None else found[1] + os.path.expanduser(found[2])  # noqa: PTH111
    if isinstance(values, Mapping):
        return {key: expand_tildes(value) for key, value in values.items()}
    return [expand_tildes(value) for value in values] if isinstance(values, list) else values


def is_stream(path: Path) -> bool:
    """Whether the path is a device or a pipe, which can be read or written only once, from start to end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def refuse_tildes(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Raise UserError for a path that begins with `~`, which a shell does not expand in a quoted word."""
    for path in paths:
        _refuse_tilde(Path(path))


def _refuse_tilde(path: Path) -> None:
    """A shell expands `~` at the start of a word; one that is left would become a folder's name."""
    if path.parts and path.parts[0].startswith("~"):
        raise UserError(
            f"{path}: `{path.parts[0]}` is not expanded here, expected the folder in full: {expand_tildes(str(path))}."
        )


def _refuse_standard_output(path: Path, status: os.stat_result) -> None:
    """Messages go there too, and would be mixed into the output."""
    for number in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(status, os.fstat(number)) and (stat.S_ISFIFO(status.st_mode) or os.isatty(number)):
                raise UserError(f"{path}: messages are printed there. Name a file.")


def _files(folder: Path) -> dict[str, int]:
    """Size in bytes of each file below `folder`, by relative path, counting links as files and excluding the marker."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name != MARKER and (path.is_symlink() or not path.is_dir()):
            found[name] = path.lstat().st_size
    return found


def write_marker(folder: Path, kind: str) -> None:
    """Write the marker by which `check_output_folder` recognises a finished folder."""
    text = json.dumps({"kind": kind, "files": _files(folder)}, indent=1, ensure_ascii=False)
    (folder / MARKER).write_text(text + "\n", encoding="utf-8", errors="surrogateescape")


def _read_marker(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("files", {}), dict) else None
