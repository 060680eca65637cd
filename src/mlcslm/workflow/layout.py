"""Which files a job needs, and what depends on what."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from mlcslm.config.diarization import EmbeddingConfig
from mlcslm.config.inputs import MissingInput, available
from mlcslm.config.languages import read_languages
from mlcslm.config.own_rows import RECIPES, with_own_rows
from mlcslm.config.paper_tables import PaperRow, PaperTable, read_paper_tables, rows_for
from mlcslm.config.schema import Config, Split
from mlcslm.errors import UserError
from mlcslm.io.files import read_json
from mlcslm.workflow.paths import CARD as CARD
from mlcslm.workflow.paths import Paths
from mlcslm.workflow.paths import statistics_file as statistics_file

ALL = "all"
TCPMER = "tcpmer"
SYSTEMS = "systems"


class Layout(Paths):
    """Paths of a configuration's files, and what depends on what. Imports nothing heavy."""

    def __init__(self, config: Config, *, whole: bool = False) -> None:
        """whole: with what this machine cannot measure for lack of an optional model (see `measurable`)."""
        super().__init__(config)
        self._whole = whole
        self.preset = config.preset
        self.scored: tuple[Split, ...] = tuple(split for split in self.splits if split != "train")
        self.groups = list(read_languages(config.languages))
        self.tables: dict[str, PaperTable] = with_own_rows(read_paper_tables(Path(config.tables)), config)

    @functools.cached_property
    def measurable(self) -> Config:
        """The configuration without what cannot be measured on this machine, for lack of an optional model."""
        return self.config if self._whole else self._available[0]

    @functools.cached_property
    def _available(self) -> tuple[Config, list[MissingInput]]:
        return available(self.config, self._has_segments, self._is_heard)

    def notices(self) -> list[str]:
        """What is left out of the run, for lack of which model; empty where nothing is."""
        reduced, missing = self._available
        if not missing:
            return []
        kinds = (
            ("diarizers", self.config.diarizers, reduced.diarizers),
            ("recognizers", self.config.recognizers, reduced.recognizers),
        )
        lost = [
            f"{len(names)} of {len(before)} {kind}, {', '.join(names)}"
            for kind, before, after in kinds
            if (names := [name for name in before if name not in after])
        ]
        tables = []
        for name in self.tables:
            before, after = len(self._rows_of(name, self.config)), len(self._rows_of(name, reduced))
            if before > after:
                tables.append(f"{name} is {f'made of {after} of its {before} rows' if after else 'not made'}")
        return [
            f"left out, as optional models are missing: {'; '.join(lost)}; "
            f"{', '.join(tables) or 'no table has them'}. All else is made. Missing:",
            *(f"  {one} (needed by {', '.join([*one.recognizers, *one.diarizers])})" for one in missing),
        ]

    def refuse_unavailable(self, targets: Iterable[str]) -> None:
        """Raise UserError for a target that needs what the configuration or this machine lacks."""
        tables = {str(self.table(name, suffix)): name for name in self.tables for suffix in (".csv", ".md")}
        for target in map(os.path.normpath, targets):
            table = tables.get(target)
            if table is not None and not self._rows(table):
                if not self._rows_of(table, self.config):
                    raise UserError(f"{target}: the configuration has no row of it: none of its systems is configured.")
                raise UserError("\n".join([f"{target}: cannot be made here.", *self.notices()]))
            relative = PurePath(os.path.relpath(target, self.root))
            if "test" not in self.splits and ("test" in relative.parts[1:] or relative.stem == "test"):
                raise UserError(f"{target}: the configuration has no test split (corpus.folders.test).")
            if "test" not in self.splits and relative.parts[0] == "submissions" and relative.parent.name != "dev":
                of_dev = PurePath(target).parent / "dev" / relative.name
                raise UserError(
                    f"{target}: is for the test split, which the configuration does not have (corpus.folders.test). "
                    f"For dev, ask for {of_dev}."
                )

    def _has_segments(self, diarizer: str) -> bool:
        """Whether a diarizer has found its segments wherever a table asks for them: its models are not needed then."""
        pairs = [pair for name in self.tables for pair in self._diarized(name, self.config) if pair[0] == diarizer]
        return all(self.diarization_segments(*pair).exists() for pair in pairs or [(diarizer, "dev")])

    def _is_heard(self, recognizer: str) -> bool:
        """Whether a recogniser has transcribed all that is asked of it: its model is not needed then."""
        decoding = self.config.recognizers[recognizer].decoding_name
        users = [name for name, diarizer in self.config.diarizers.items() if diarizer.asr.recognizer == recognizer]
        files = [self.hypotheses(recognizer, decoding, split) for split in self.scored]
        files += [self.diarization_hypotheses(name, split) for name in users for split in self.scored]
        return all(file.exists() for file in files)

    def corpus_marker(self, split: str) -> list[str]:
        """What marks a split's sessions as present: the demo corpus's description, or the folder itself.

        Empty if that folder is missing and has no manifest yet: the manifest's job then reports what is expected,
        whereas Snakemake would only name its rule.
        """
        if self.config.corpus.generated(split):
            return [str(self.demo_corpus())]
        folder = self.corpus(split)
        return [str(folder)] if folder.is_dir() or self.manifest(split).exists() else []

    def reasoning_hypotheses(self) -> list[str]:
        """Hypotheses of the training set that reflections are built from: each checkpoint's shards."""
        checkpoints = self.config.reasoning.checkpoints
        return [str(self.training_hypotheses(name, shard)) for name in checkpoints for shard in self.shards()]

    def noise(self, kind: str) -> Path | None:
        """Folder of noises ("noise") or room responses ("room_responses"): the configured one, or the demo's own."""
        given = getattr(self.config.augmentation, kind)
        if given is not None:
            return Path(given)
        if self.config.corpus.kind == "demo" and self.config.augmentation.probability > 0:
            return self.root / "corpus" / "augmentation" / {"noise": "noise", "room_responses": "room"}[kind]
        return None

    def uses_cache(self, checkpoint: str, split: str) -> bool:
        """Whether a checkpoint is trained (split `train`) or decoded from cached encoder outputs.

        Trained: unless it trains the encoder itself. Decoded: if other stages use the same encoder as it is; outputs
        of an encoder that only one checkpoint has would be read once.
        """
        if checkpoint not in self.config.stages:  # a ready recogniser
            return False
        encoder = self.config.encoder_of(checkpoint)
        if split == "train":
            standing = encoder != checkpoint and self.config.stages[checkpoint].template != "diarized"
        else:
            standing = encoder in self.config.standing_encoders
        return self.config.resources.cache_encoder and standing

    def adapted_encoder_file(self, encoder: str) -> list[str]:
        """`checkpoint.json` of the checkpoint that adapted an encoder; empty for the foundation's."""
        return [] if encoder == "foundation" else [str(self.checkpoint_card(encoder))]

    def parent_file(self, checkpoint: str) -> list[str]:
        """`checkpoint.json` of the parent; empty for the foundation."""
        parent = self.config.stages[checkpoint].parent
        return [] if parent == "foundation" else [str(self.checkpoint_card(parent))]

    def cached_manifest(self, split: str) -> Path:
        """Manifest of the utterances whose encoder outputs are cached for a split."""
        return self.training_manifest() if split == "train" else self.manifest(split)

    def cache_file(self, checkpoint: str, split: str) -> list[str]:
        """`cache.json` of the encoder outputs that a job of `checkpoint` reads on `split`, if it does."""
        if not self.uses_cache(checkpoint, split):
            return []
        return [str(self.cache_card(self.config.encoder_of(checkpoint), split))]

    def ctc_file(self, checkpoint: str, decoding: str) -> list[str]:
        """`ctc.json` of the head that judges the candidates of a decoding, or hears first passes, if there is one."""
        if not self.config.needs_ctc_head(checkpoint, decoding):
            return []
        return [str(self.ctc_card(self.config.encoder_of(checkpoint)))]

    def folds(self) -> list[str]:
        """Names of the folds that CTC heads hear for the training set's first passes."""
        count = self.config.ctc.folds
        return [f"{number}-of-{count}" for number in range(count)]

    def ctc_fold_files(self, encoder: str) -> list[str]:
        """`ctc.json` of the heads of all folds."""
        return [str(self.ctc_fold_card(encoder, fold)) for fold in self.folds()]

    def first_pass_files(self, checkpoint: str) -> list[list[str]]:
        """What was heard in the training set, for stages whose prompts contain it: files of each first pass."""
        return [
            [str(self.first_passes(self.config.encoder_of(checkpoint)))]
            if one == "ctc"
            else [str(self.fold_hypotheses(fold, one.decoding, shard)) for fold in one.folds for shard in self.shards()]
            for one in self.config.first_passes(checkpoint)
        ]

    def first_pass_hypotheses(self, checkpoint: str, split: str) -> list[str]:
        """Hypotheses of the other checkpoints that a checkpoint's prompts contain on a split."""
        read = self.config.checkpoint_first_passes(checkpoint)
        return [str(self.hypotheses(one.checkpoint, one.decoding, split)) for one in read]

    def measuring_ctc_file(self, checkpoint: str) -> list[str]:
        """`ctc.json` of the head that hears dev, for stages with its first pass that measure themselves."""
        if not (self.config.hears_ctc(checkpoint) and self.config.stages[checkpoint].eval_steps):
            return []
        return [str(self.ctc_card(self.config.encoder_of(checkpoint)))]

    def measuring_hypotheses(self, checkpoint: str) -> list[str]:
        """`first_pass_hypotheses` of dev, for stages that measure themselves."""
        return self.first_pass_hypotheses(checkpoint, "dev") if self.config.stages[checkpoint].eval_steps else []

    def engine_file(self, decoding: str) -> list[str]:
        """The description of the engine that runs a decoding's language model; empty for this package's own search."""
        engine = self.config.decodings[decoding].engine if decoding in self.config.decodings else "own"
        return [] if engine == "own" else [str(self.engine(engine))]

    def reasoning_file(self, checkpoint: str) -> list[str]:
        """The reflections, for stages that are trained on them."""
        return [str(self.reasoning())] if self.config.needs_reasoning_data(checkpoint) else []

    def context_hypotheses(self, checkpoint: str) -> list[str]:
        """Hypotheses of the training set, for stages whose context they are."""
        source = getattr(self.config.stages[checkpoint], "context_source", "references")
        return self.reasoning_hypotheses() if source != "references" else []

    def measured_manifest(self, checkpoint: str) -> list[str]:
        """Manifest of dev, for stages that measure themselves while they train."""
        return [str(self.manifest("dev"))] if self.config.stages[checkpoint].eval_steps else []

    def shards(self) -> dict[str, list[str]]:
        """Groups of each decoding job, by the shard's name."""
        size = self.config.resources.languages_per_shard
        if size == 0:
            return {ALL: self.groups}
        return {self.groups[i]: self.groups[i : i + size] for i in range(0, len(self.groups), size)}

    def shard_files(self, checkpoint: str, decoding: str, split: str) -> list[str]:
        """Hypotheses of each shard."""
        return [str(self.shard_hypotheses(checkpoint, decoding, split, shard)) for shard in self.shards()]

    def embedding_of(self, diarizer: str) -> EmbeddingConfig:
        """The speaker embedding of a diarizer."""
        return self.config.embeddings[self.config.diarizers[diarizer].embedding]

    def embedding_file(self, diarizer: str) -> list[str]:
        """The weights that a diarizer waits for; empty if its embedding is a public checkpoint."""
        if self.embedding_of(diarizer).checkpoint:
            return []
        return [str(self.embedding_weights(self.config.diarizers[diarizer].embedding))]

    def transcriber(self, diarizer: str) -> dict[str, Any]:
        """How a diarizer's segments are transcribed: its decoding, or its recogniser."""
        name, decoding = self.config.transcriber(diarizer)
        if name in self.config.recognizers:
            return self.config.recognizers[name].model_dump(mode="json", exclude={"batch_size"})
        return self.config.decodings[decoding].model_dump(mode="json")

    def transcriber_file(self, diarizer: str) -> list[str]:
        """`checkpoint.json` of what transcribes a diarizer's segments; empty for a ready recogniser."""
        checkpoint = self.config.diarizers[diarizer].asr.checkpoint
        return [str(self.checkpoint_card(checkpoint))] if checkpoint is not None else []

    def measured_tables(self) -> list[str]:
        """The tables of which the configuration measures at least one row, in the paper's order."""
        return [table for table in self.tables if self._rows(table)]

    def measured(self, table: str) -> list[tuple[str, str, str]]:
        """(checkpoint, decoding, split) of everything a table needs.

        Besides its rows: their ancestors on dev, with the same decoding, to show the effect of each stage; and the
        systems that transcribe its diarizers' segments, to show what the segments cost. Ancestors are left out where a
        table compares decodings of one checkpoint, or context, which only one checkpoint was trained with, and for
        recipes, which have their controls. Last come those whose answers are in the prompts of others.
        """
        needed: dict[tuple[str, str, str], None] = {}
        for diarizer, split in self.diarized(table):
            needed[(*self.config.transcriber(diarizer), split)] = None
        systems = [(row.measures.checkpoint, row.measures.decoding) for row in self._rows(table)]
        compared = Counter(checkpoint for checkpoint, _ in dict.fromkeys(systems))
        for checkpoint, decoding in systems:
            if checkpoint is None or decoding is None:
                continue
            for split in self._splits(table):
                needed[checkpoint, decoding, split] = None
            if checkpoint in self.config.recognizers or table == RECIPES:
                continue
            if compared[checkpoint] == 1 and self.config.decodings[decoding].context == "none":
                for ancestor in self.config.lineage(checkpoint):
                    needed[ancestor, decoding, "dev"] = None
        for checkpoint, _, split in list(needed):
            for one in self.config.checkpoint_first_passes(checkpoint):
                needed[one.checkpoint, one.decoding, split] = None
        return list(needed)

    def diarized(self, table: str) -> list[tuple[str, str]]:
        """(diarizer, split) of everything a table needs: its rows', and if the table says so, all others."""
        return self._diarized(table, self.measurable)

    def _diarized(self, table: str, config: Config) -> list[tuple[str, str]]:
        rows = self._rows_of(table, config)
        names = [row.measures.diarizer for row in rows if row.measures.diarizer is not None]
        if names and self.tables[table].all_diarizers:
            names = list(config.diarizers)
        return [(name, split) for name in names for split in self._splits(table)]

    def _rows(self, table: str) -> list[PaperRow]:
        return self._rows_of(table, self.measurable)

    def _rows_of(self, table: str, config: Config) -> list[PaperRow]:
        recognizers = [pair for pair in config.decoded if pair[0] in config.recognizers]
        return rows_for(self.tables[table], config.stages, config.decodings, config.diarizers, recognizers)

    def _splits(self, table: str) -> list[str]:
        return [split for split in self.scored if split == "dev" or split in self.tables[table].values]

    def table_inputs(self, table: str) -> dict[str, list[str]]:
        """Files that a table is made from, by kind."""
        measured = self.measured(table)
        checkpoints = dict.fromkeys(checkpoint for checkpoint, _, _ in measured)
        if table == RECIPES:  # whose cost is that of all their stages
            checkpoints = dict.fromkeys(self.recipe_stages())
        return {
            "scores": [str(self.scores(*system)) for system in measured],
            "hypotheses": [str(self.hypotheses(*system)) for system in measured],
            "reflections": [str(self.reflections(*system)) for system in measured],
            "diarization": [str(self.diarization_counts(*diarizer)) for diarizer in self.diarized(table)],
            "segments": [str(self.diarization_hypotheses(*diarizer)) for diarizer in self.diarized(table)],
            "stretch_answers": [
                str(self.diarization_answers(*one))
                for one in self.diarized(table)
                if self.config.diarizers[one[0]].stretch_s is not None
            ],
            "logs": [str(self.training_log(name)) for name in checkpoints if name in self.config.stages],
            "manifests": [str(self.manifest(split)) for split in self.splits],
            "oracles": [str(self.oracles(*system)) for system in measured if self.has_candidates(system[1])],
            "costs": [str(self.stage_costs())] if table == RECIPES else [],
            "external": self.external_inputs(),
        }

    def recipe_stages(self) -> list[str]:
        """All stages that the configuration's recipes are made of, in its order."""
        needed = {name for recipe in self.config.recipes.values() for name in self.config.needed(recipe.checkpoint)}
        return [name for name in self.config.stages if name in needed]

    def ctc_settings(self) -> dict[str, Any]:
        """How CTC heads are trained; empty if neither a decoding nor a stage has one."""
        needed = any(decoding.needs_ctc_head for decoding in self.config.decodings.values())
        needed = needed or any(map(self.config.hears_ctc, self.config.stages))
        return self.config.ctc.model_dump(mode="json") if needed else {}

    def has_candidates(self, decoding: str) -> bool:
        """Whether a decoding chooses among candidates, of which it keeps all."""
        return decoding in self.config.decodings and self.config.decodings[decoding].consensus is not None

    def on_disk(self) -> list[tuple[str, str, str]]:
        """(checkpoint, decoding, split) of everything that has been scored so far and is part of the configuration."""
        found = [(*system, split) for system in self.config.decoded for split in self.scored]
        kinds = (self.hypotheses, self.scores, self.reflections)
        return [system for system in found if all(path(*system).exists() for path in kinds)]

    def diarization_on_disk(self) -> list[tuple[str, str]]:
        """(diarizer, split) of everything that has been scored so far and is part of the configuration."""
        found = [(name, split) for name in self.config.diarizers for split in self.scored]
        kinds = (self.diarization_counts, self.diarization_hypotheses)
        return [diarizer for diarizer in found if all(path(*diarizer).exists() for path in kinds)]

    def external_files(self, system: str, split: str) -> list[str]:
        """The files or folders that the configuration lists for a system on a split."""
        given = self.config.systems[system].files[split]  # type: ignore[index]
        return [given] if isinstance(given, str) else list(given)

    def external_inputs(self) -> list[str]:
        """Cards of the configuration's external systems, one per split: they exist once it has been scored."""
        return [
            str(self.external_card(name, split))
            for name, system in self.config.systems.items()
            for split in self.scored
            if split in system.files
        ]

    def requested_tables(self, targets: Iterable[str]) -> list[str]:
        """The tables that Snakemake's targets need, so that the database must hold all their inputs.

        Targets are tables, or something that needs all tables. For the database alone: the tables that exist, or else
        all.
        """
        names = [*self.measured_tables(), SYSTEMS, TCPMER]
        files = {str(self.table(name, suffix)): name for name in names for suffix in (".csv", ".md")}
        found = [os.path.normpath(target) for target in targets] or self.targets()
        if found and all(target in files for target in found):
            return [name for name in names if name in {files[target] for target in found}]
        if found == [str(self.database())] and (made := [name for name in names if self.table(name).exists()]):
            return made
        return self.measured_tables()

    def targets(self) -> list[str]:
        """What is made by default: all tables; where nothing is trained, the comparison of systems and report too."""
        tables = self.measured_tables()
        found = [str(self.table(name)) for name in tables]
        if tables and not self.config.stages:
            averages = [SYSTEMS if name == "table6" else TCPMER for name in tables if name in ("table6", "table7")]
            found += [str(self.table(name)) for name in averages] + [str(self.report())]
        return found

    def inputs_of(self, table: str) -> dict[str, list[str]]:
        """Files that a table, or a comparison of all systems, is made from, by kind."""
        if table == TCPMER:
            return self.tcpmer_inputs()
        return self.systems_inputs() if table == SYSTEMS else self.table_inputs(table)

    def database_inputs(self, tables: Iterable[str]) -> dict[str, list[str]]:
        """Files that `results.duckdb` is made from so that it holds all of `tables`, by kind."""
        merged: dict[str, dict[str, None]] = {}
        for table in tables:
            for kind, files in self.inputs_of(table).items():
                merged.setdefault(kind, {}).update(dict.fromkeys(files))
        manifests = [str(self.manifest(split)) for split in self.splits]
        return {"manifests": manifests, **{kind: list(files) for kind, files in merged.items()}}

    def also_measured(self, inputs: Mapping[str, Sequence[str]]) -> list[str]:
        """What else has been measured, beyond `inputs`: included in the database as it is, without jobs for it."""
        known = {file for files in inputs.values() for file in files}
        found = [str(self.scores(*system)) for system in self.on_disk()]
        found += [str(self.diarization_counts(*diarizer)) for diarizer in self.diarization_on_disk()]
        found += [str(folder / CARD) for folder in self.external_on_disk()]
        return [file for file in found if file not in known]

    def tcpmer_inputs(self) -> dict[str, list[str]]:
        """Files that the comparison of all diarizers is made from, by kind: on dev, and on test if a table needs it."""
        expected = {(diarizer, "dev") for diarizer in self.measurable.diarizers}
        expected.update(pair for table in self.measured_tables() for pair in self.diarized(table))
        files = [str(self.diarization_counts(*pair)) for pair in expected]
        return {"diarization": sorted(files), "external": self.external_inputs()}

    def systems_inputs(self) -> dict[str, list[str]]:
        """Files that the comparison of all Track 1 systems is made from, by kind: those of Table 6."""
        return self.table_inputs("table6") if "table6" in self.tables else {"external": self.external_inputs()}

    def submitting(self, track: int) -> list[str]:
        """Systems that can be submitted to a track: all that decode utterances, or diarizers; and external ones."""
        config = self.config
        pairs = ["/".join(pair) for pair in config.decoded]
        evaluated = [
            folder.parent.name
            for folder, card in self._evaluated_by_command()
            if card["track"] == track and Path(self._evaluated_answers(folder.parent.name, folder.name, track)).exists()
        ]
        return list(dict.fromkeys([*(pairs if track == 1 else config.diarizers), *config.systems, *evaluated]))

    def submission_inputs(self, system: str, split: str, track: int) -> list[str]:
        """Files that a system's submission is made from; none has to be scored, as test sets may be hidden."""
        if system in self.config.systems:
            return self.external_files(system, split)
        if track == 2 and system in self.config.diarizers:
            return [str(self.diarization_stm(system, split))]
        for checkpoint, decoding in self.config.decoded:
            if track == 1 and f"{checkpoint}/{decoding}" == system:
                return self.shard_files(checkpoint, decoding, split)
        return [self._evaluated_answers(system, split, track)]

    def external_on_disk(self) -> list[Path]:
        """Folders of all external systems: the configuration's, in its order, and those of `mlcslm evaluate`.

        Systems that a configuration no longer lists are skipped.
        """
        expected = [Path(card).parent for card in self.external_inputs()]
        evaluated = [folder for folder, _ in self._evaluated_by_command()]
        return [folder for folder in expected if (folder / CARD).exists()] + evaluated

    def _evaluated_by_command(self) -> list[tuple[Path, dict[str, Any]]]:
        """Folders of the systems that `mlcslm evaluate` scored, with their cards."""
        expected = [Path(card).parent for card in self.external_inputs()]
        found = [
            (path.parent, read_json(path, f"Delete {path.parent} and evaluate the system again."))
            for path in sorted(self.root.glob(f"systems/*/*/{CARD}"))
            if path.parent.name in self.scored  # not hidden: being written, or left by a killed process
            and path.parent not in expected
        ]
        return [(folder, card) for folder, card in found if card["origin"] == "command"]

    def _evaluated_answers(self, system: str, split: str, track: int) -> str:
        """Transcripts that `mlcslm evaluate` kept of a system for a track; on Track 2 there are none of RTTM alone."""
        if track == 1:
            return str(self.external_hypotheses(system, split))
        return str(self.external(system, split) / "hypothesis.stm")
