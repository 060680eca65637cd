"""What to evaluate, from a configuration or from the command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlcslm.config.reading import parse_config
from mlcslm.config.schema import Config
from mlcslm.config.systems import FileFormat
from mlcslm.errors import UserError
from mlcslm.scoring.recordings import available_cores
from mlcslm.text.protocols import Protocol, get_protocol
from mlcslm.workflow.layout import Layout


def configured_request(config: Config, layout: Layout, system: str, split: str, *, jobs: int) -> Evaluation:
    """Request to score a system of the configuration's `systems` on a split."""
    request = config.systems[system]
    return Evaluation(
        name=system,
        split=split,
        files=tuple(map(Path, layout.external_files(system, split))),
        manifest=layout.manifest(split),
        languages=Path(config.languages),
        protocols=protocols_of(config, request.protocols),
        file_format=request.format,
        track=request.track,
        skip_unknown=request.skip_unknown,
        method=request.method,
        origin="config",
        jobs=jobs,
    )


def protocols_of(config: Config, more: Iterable[str] = ()) -> tuple[Protocol, ...]:
    """The configuration's protocol, then others, without duplicates. Raises UserError for an unknown name."""
    own = get_protocol(config.scoring.protocol, config.scoring.normalise_hypothesis)
    chosen: Sequence[Protocol] = [own, *map(get_protocol, more)]
    return tuple({protocol.name: protocol for protocol in chosen}.values())


def command_request(
    config: Config,
    source: str,
    results: Path | None,
    *,
    name: str,
    split: str,
    files: Sequence[Path],
    file_format: str,
    track: int | None,
    protocols: Sequence[str],
    skip_unknown: bool,
    method: str,
) -> tuple[Config, Layout, Evaluation]:
    """Request to score a system given on the command line, validated like one of `config`.

    source: where `config` was read; results: overrides its folder. Raises UserError or FaultyInput for a configuration
    that already has the system, for invalid options, and for a split without a manifest.
    """
    values = config.model_dump(mode="json")
    if name in values["systems"]:
        raise UserError(
            f"{source}: systems.{name} already exists, and the workflow scores it. Choose another name, or change "
            "the files there."
        )
    values["results"] = str(results) if results is not None else values["results"]
    section: dict[str, Any] = {"files": {split: [str(path) for path in files]}, "format": file_format, "track": track}
    section |= {"protocols": list(protocols), "skip_unknown": skip_unknown, "method": method}
    # Whatever the configuration's section forbids is forbidden here.
    checked = parse_config(values | {"systems": values["systems"] | {name: section}}, f"mlcslm evaluate --name {name}")
    config = parse_config(values, source)
    layout = Layout(checked)
    if not layout.manifest(split).is_file():
        raise UserError(
            f"{layout.manifest(split)}: no such manifest; it provides the references. Create it with `snakemake "
            f"--cores 1 {layout.manifest(split)} --configfile {source}`, or of any corpus with `mlcslm manifest`."
        )
    request = replace(configured_request(checked, layout, name, split, jobs=available_cores()), origin="command")
    return config, Layout(config), request


@dataclass(frozen=True)
class Evaluation:
    """Which files to score as which system.

    files: of the system, on this split; protocols: to score under, first the one of the results; track: None to infer
    it from the ids; origin: `config` or `command`, where the request comes from; jobs: processes.
    """

    name: str
    split: str
    files: tuple[Path, ...]
    manifest: Path
    languages: Path
    protocols: tuple[Protocol, ...]
    file_format: FileFormat = "auto"
    track: int | None = None
    skip_unknown: bool = False
    method: str = ""
    origin: str = "command"
    jobs: int = 1

    @property
    def source(self) -> str:
        """The files, for messages."""
        return ", ".join(map(str, self.files))
