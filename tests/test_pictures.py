"""The README's table, docs/images and the figures noted beside them are of one run (`make pictures`)."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]
ROW = {
    **{"checkpoint": "ckpt-7000", "method": "LoRA SFT", "dev": "17.14", "dev_low": "10.99", "dev_high": "21.84"},
    **{"dev_published": "15.48", "test": "26.36", "test_low": None, "test_high": None, "test_published": "13.86"},
}


@pytest.fixture(scope="module")
def pictures() -> Any:
    """docs/make_pictures.py as a module."""
    spec = importlib.util.spec_from_file_location("make_pictures", REPOSITORY / "docs" / "make_pictures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table_in(readme: str, pictures: Any) -> str:
    return readme.split(pictures.START)[1].split(pictures.END)[0].strip()


def test_table_and_pictures_are_those_of_the_figures(pictures: Any) -> None:
    if not pictures.FIGURES.is_file():
        pytest.skip("no docs/images/figures.json yet: `make pictures` writes it")
    figures = json.loads(pictures.FIGURES.read_text("utf-8"))
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    assert table_in(readme, pictures) == pictures.readme_table(figures["table6"]), "run `make pictures`"
    assert figures["pictures"]
    for name, expected in figures["pictures"].items():
        found = hashlib.sha256((REPOSITORY / "docs" / "images" / f"{name}.png").read_bytes()).hexdigest()
        assert found == expected, f"{name}.png is of another run: `make pictures`"


def test_every_picture_that_is_made_is_shown_and_the_other_way_round(pictures: Any) -> None:
    named = {path.stem for path in (REPOSITORY / "docs" / "images").glob("*.png")}
    assert named <= set(pictures.PICTURES)
    pages = "".join(path.read_text("utf-8") for path in [*(REPOSITORY / "docs").glob("*.md"), REPOSITORY / "README.md"])
    assert not [name for name in named if f"images/{name}.png" not in pages]


def test_the_readme_s_table_is_replaced_between_its_marks(tmp_path: Path, pictures: Any) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{pictures.START}\nold\n{pictures.END}\nafter\n", encoding="utf-8")
    pictures.write_readme([ROW], readme)
    text = readme.read_text("utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    row = "| ckpt-7000 | LoRA SFT | 17.14 [10.99, 21.84] | 15.48 | 26.36 | 13.86 |"
    assert table_in(text, pictures).splitlines()[2:] == [row]
    readme.write_text("no marks", encoding="utf-8")
    with pytest.raises(pictures.UserError, match="expected the marks"):
        pictures.write_readme([ROW], readme)
