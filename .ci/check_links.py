"""Check the links of Markdown files offline: each relative link has to lead to a file, and each anchor to a heading.

python .ci/check_links.py FILE...        the given files
python .ci/check_links.py                all Markdown files that git tracks
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

FENCE = re.compile(r"\s*(`{3,}|~{3,})")
HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*\s*$")
CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
# Of a picture that is itself a link, both targets: the inner one ends the outer one's text.
INLINE = re.compile(r"\]\(\s*<?([^\s<>()]*(?:\([^\s()]*\)[^\s<>()]*)*)>?(?:\s+(?:\"[^\"]*\"|'[^']*'))?\s*\)")
DEFINITION = re.compile(r" {0,3}\[[^\]]+\]:\s*<?([^\s>]+)>?")
HTML = re.compile(r"<(?:a|img)\s[^>]*?(?:href|src)=\"([^\"]*)\"")
IDENTIFIER = re.compile(r"<[a-z][^>]*?\s(?:id|name)=\"([^\"]*)\"")


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a Markdown file outside fenced code, with their numbers from 1."""
    fence = ""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        found = FENCE.match(line)
        if fence:
            if found and found[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif found:
            fence = found[1]
        else:
            yield number, line


def slug(heading: str) -> str:
    """Anchor of a heading, as GitHub makes it: lower case, spaces to hyphens, without punctuation.

    >>> slug("`make demo`: what's in [the docs](docs/README.md)?")
    'make-demo-whats-in-the-docs'
    """
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


@cache
def anchors(path: Path) -> frozenset[str]:
    """Anchors of a Markdown file. A heading that stands there again gets a number."""
    found: set[str] = set()
    for _, line in prose(path):
        found |= set(IDENTIFIER.findall(line))
        if heading := HEADING.match(line):
            anchor, again = slug(heading[1]), 0
            while (name := f"{anchor}-{again}" if again else anchor) in found:
                again += 1
            found.add(name)
    return frozenset(found)


def broken_links(path: Path) -> Iterator[str]:
    """A line for each link of a Markdown file that leads nowhere. Links to other sites are not followed."""
    for number, line in prose(path):
        text = CODE.sub("", line)
        defined = DEFINITION.match(text)
        for target in (*INLINE.findall(text), *HTML.findall(text), *([defined[1]] if defined else [])):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            goal = path.parent / unquote(parts.path) if parts.path else path
            if not goal.exists():
                yield f"{path}:{number}: {target}: no such file"
            elif parts.fragment and goal.suffix == ".md" and unquote(parts.fragment) not in anchors(goal):
                yield f"{path}:{number}: {target}: no such heading in {goal}"


def main(names: list[str]) -> int:
    """Print the broken links of files; the exit status is 1 if there are any."""
    if not names:
        listed = subprocess.run(["git", "ls-files", "-z", "*.md"], capture_output=True, text=True, check=True)
        names = [name for name in listed.stdout.split("\0") if name]
    broken = [line for name in names for line in broken_links(Path(name))]
    print("\n".join([*broken, f"{len(names)} Markdown files, {len(broken)} broken links"]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
