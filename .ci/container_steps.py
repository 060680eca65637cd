"""Check the Containerfile where no container can be built: run its steps in a new virtual environment.

    python .ci/container_steps.py FOLDER

`FROM` is the Python that runs this, which must be of the same minor version; `RUN apt-get` is simulated, so that every
package must exist; COPY, WORKDIR, ENV, other RUNs and CMD are done below FOLDER. At the end CMD must succeed, and
`snakemake --dry-run` of the demo must plan its jobs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
INSTRUCTIONS = ("FROM", "RUN", "WORKDIR", "COPY", "ENV", "CMD")


def steps(text: str) -> list[tuple[str, str]]:
    """Instructions and their arguments, continued lines joined; raises ValueError for one that is not known here."""
    lines = [
        line for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines() if line.strip() and not line.startswith("#")
    ]
    found = [(name, argument.strip()) for name, _, argument in (line.partition(" ") for line in lines)]
    if unknown := [name for name, _ in found if name not in INSTRUCTIONS]:
        raise ValueError(f"Containerfile: found {', '.join(unknown)}; expected some of {', '.join(INSTRUCTIONS)}")
    return found


def apt_packages(command: str) -> list[str]:
    """What `apt-get install` in `command` installs."""
    (arguments,) = re.findall(r"apt-get install ([^&|;]*)", command)
    return [word for word in arguments.split() if not word.startswith("-")]


def ignored(path: Path) -> bool:
    """Whether .dockerignore leaves out a path relative to the repository."""
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    places = [path, *path.parents]
    return any(
        place.match(pattern.removeprefix("**/")) and ("**/" in pattern or len(place.parts) == len(Path(pattern).parts))
        for pattern in patterns
        for place in places
        if place.parts
    )


def copy(source: Path, target: Path) -> None:
    """COPY: a file, or a folder without what .dockerignore names."""
    if source.is_file():
        shutil.copy2(source, target)
        return

    def skipped(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if ignored((Path(folder) / name).relative_to(ROOT))]

    shutil.copytree(source, target, ignore=skipped, dirs_exist_ok=True)


def main(folder: Path) -> None:
    """Do all steps below `folder`; raises CalledProcessError for the first that fails."""
    where = folder / "root"
    venv.create(folder / "venv", with_pip=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment["PATH"] = f"{folder / 'venv' / 'bin'}:{os.environ['PATH']}"
    for name, argument in steps((ROOT / "Containerfile").read_text(encoding="utf-8")):
        print(f"{name} {argument}", flush=True)
        if name == "FROM":
            version = f"{sys.version_info[0]}.{sys.version_info[1]}"
            if f"python:{version}-" not in argument:
                raise SystemExit(f"{argument}: this is Python {version}")
        elif name == "WORKDIR":
            where = folder / "root" / argument.lstrip("/")
            where.mkdir(parents=True)
        elif name == "COPY":
            *sources, target = argument.split()
            for source in sources:
                copy(ROOT / source, where / target)
        elif name == "ENV":
            environment |= dict(re.findall(r"(\S+?)=(\S+)", argument))
        elif name == "RUN" and "apt-get" in argument:
            subprocess.run(["apt-get", "install", "--simulate", "--quiet=2", *apt_packages(argument)], check=True)
        elif name == "RUN":
            subprocess.run(["sh", "-c", argument], cwd=where, env=environment, check=True)
        else:
            subprocess.run(json.loads(argument), cwd=where, env=environment, stdout=subprocess.DEVNULL, check=True)
    planned = ["snakemake", "results/tables/table6.csv", "--cores", "1", "--dry-run", "--quiet", "rules"]
    subprocess.run(planned, cwd=where, env=environment, check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    Path(sys.argv[1]).mkdir(parents=True)
    main(Path(sys.argv[1]).resolve())
