"""The link check of `make lint`: it runs offline, and what it calls broken is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECK = Path(__file__).parents[1] / ".ci" / "check_links.py"
PAGE = """# A page

## `make`, and what's next

## Twice

## Twice

[whole](page.md), [part](page.md#make-and-whats-next), [second](#twice-1), [site](https://example.org/none#x), [![a
picture](picture.png)](sub/other.md "Title"), `[code](nowhere.md)`, [spaced](<sub/a file.md>), [by name][name]

[name]: sub/other.md#other

| `fold` | [number, count]: leave |

~~~
[fenced](nowhere.md)
~~~
"""


def check(folder: Path, page: str) -> subprocess.CompletedProcess[str]:
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "page.md").write_text(page, "utf-8")
    (folder / "sub" / "other.md").write_text("# Other\n[up](../page.md)\n", "utf-8")
    (folder / "sub" / "a file.md").touch()
    (folder / "picture.png").touch()
    command = [sys.executable, str(CHECK), "page.md", "sub/other.md"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_links_that_lead_somewhere_pass(tmp_path: Path) -> None:
    done = check(tmp_path, PAGE)
    assert (done.returncode, done.stdout) == (0, "2 Markdown files, 0 broken links\n")


def test_links_that_lead_nowhere_are_named_with_their_lines(tmp_path: Path) -> None:
    done = check(tmp_path, '# A\n[x](none.md) [y](sub/other.md#none)\n\n[z](#b) <a href="gone.html">\n\n[n]: lost.md\n')
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "page.md:2: none.md: no such file",
        "page.md:2: sub/other.md#none: no such heading in sub/other.md",
        "page.md:4: #b: no such heading in page.md",
        "page.md:4: gone.html: no such file",
        "page.md:6: lost.md: no such file",
        "2 Markdown files, 5 broken links",
    ]
