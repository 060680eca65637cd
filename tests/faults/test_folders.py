"""A results folder that cannot be one, or is full: said before or when it matters, and nothing is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine_faults import obey_permissions
from toy_runs import Toy

pytestmark = pytest.mark.slow


def test_an_unwritable_results_folder(toy: Toy, undisturbed: Toy) -> None:
    toy.forget("ckpt-4000/dev")
    before = toy.finished()
    toy.results.chmod(0o500)
    assert toy.run(before=obey_permissions) != 0
    assert "results: not readable or writable by this user (Permission denied). Give yourself access" in toy.output
    assert "Traceback" not in toy.output
    toy.results.chmod(0o755)
    assert toy.finished() == before
    assert toy.run() == 0, toy.output
    assert toy.made() == undisturbed.made()


def test_a_file_where_the_results_are_to_be(toy: Toy, undisturbed: Toy) -> None:
    toy.remove("tables")
    toy.results.rename(toy.root / "elsewhere")
    toy.results.write_text("not a folder")
    assert toy.run() != 0
    assert "results: is not a folder" in toy.output
    assert "Traceback" not in toy.output
    toy.results.unlink()
    (toy.root / "elsewhere").rename(toy.results)
    assert toy.run() == 0, toy.output
    assert toy.made() == undisturbed.made()


@pytest.fixture
def small_disk(toy: Toy) -> Iterator[Path]:
    """A disk of a page, mounted where a decoding is to be written."""
    folder = toy.results / "hypotheses" / "ckpt-4000" / "greedy" / "dev"
    toy.forget("ckpt-4000/dev")
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may mount no disk")
    (folder / "other").touch()  # else Snakemake tries to remove the empty folder, and with it the disk
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=False, capture_output=True)


def test_a_disk_that_is_full(small_disk: Path, toy: Toy, undisturbed: Toy) -> None:
    before = toy.finished()
    assert toy.run() != 0
    assert "the disk is full (" in toy.output
    assert "No space left on device" in toy.output
    assert "Traceback" not in toy.output
    assert toy.finished() == before
    subprocess.run(["umount", str(small_disk)], check=True)
    assert toy.run() == 0, toy.output
    assert toy.made() == undisturbed.made()
