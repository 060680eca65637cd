"""What the Snakemake rules ask: where files lie, what a job needs, and how a script runs its one function."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mlcslm.config.diarization import EmbeddingConfig
from mlcslm.config.languages import read_languages
from mlcslm.config.paper_tables import PaperRow, PaperTable, read_paper_tables, rows_for
from mlcslm.config.schema import Config, Split
from mlcslm.io.files import read_json

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
ALL = "all"


class Layout(SystemsLayout):
    """Paths below the results folder of a configuration, and what depends on what. Imports nothing heavy."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.root = Path(config.results)
        self.preset = config.preset
        self.groups = list(read_languages(config.languages))
        self.tables: dict[str, PaperTable] = read_paper_tables(Path(config.tables))

    def corpus(self, split: str) -> Path:
        """Folder of a split's sessions."""
        if self.config.corpus.kind == "demo":
            return self.root / "corpus" / split
        return Path(self.config.corpus.folders[split])  # type: ignore[index]

    def corpus_marker(self, split: str) -> list[str]:
        """What says that a split's sessions are there: the demo corpus's description, or the folder itself.

        Nothing where that folder is missing and has no manifest yet: the manifest's job then says what is expected,
        while Snakemake would only name its rule.
        """
        if self.config.corpus.kind == "demo":
            return [str(self.root / "corpus" / "corpus.json")]
        folder = self.corpus(split)
        return [str(folder)] if folder.is_dir() or self.manifest(split).exists() else []

    def manifest(self, split: str) -> Path:
        """Manifest of a split."""
        return self.root / "manifests" / f"{split}.parquet"

    def cache(self, split: str) -> Path:
        """Folder of a split's cached encoder outputs."""
        return self.root / "features" / split

    def checkpoint(self, name: str) -> Path:
        """Folder of a checkpoint."""
        return self.root / "checkpoints" / name

    def hypotheses(self, checkpoint: str, decoding: str, split: str) -> Path:
        """Hypotheses of a system on a split."""
        return self.root / "hypotheses" / checkpoint / decoding / f"{split}.parquet"

    def reasoning(self) -> Path:
        """Reflections on the training set."""
        return self.root / "reasoning" / "reasoning.parquet"

    def reasoning_hypotheses(self) -> list[str]:
        """Hypotheses of the training set that reflections are on: each checkpoint's shards.

        They lie apart from others: they may be of noisy audio, or of the sessions alone that a checkpoint has not seen.
        """
        folder = self.root / "reasoning" / "hypotheses"
        return [
            str(folder / name / f"{shard}.parquet")
            for name in self.config.reasoning.checkpoints
            for shard in self.shards()
        ]

    def scores(self, checkpoint: str, decoding: str, split: str) -> Path:
        """Error counts of a system on a split."""
        return self.root / "scores" / checkpoint / decoding / f"{split}.parquet"

    def reflections(self, checkpoint: str, decoding: str, split: str) -> Path:
        """What the reflections of a system did on a split; empty for a system that does not reflect."""
        return self.root / "reflections" / checkpoint / decoding / f"{split}.parquet"

    def noise(self, kind: str) -> Path | None:
        """Folder of noises ("noise") or room responses ("room_responses"): the configured one, or the demo's own."""
        given = getattr(self.config.augmentation, kind)
        if given is not None:
            return Path(given)
        if self.config.corpus.kind == "demo" and self.config.augmentation.probability > 0:
            return self.root / "corpus" / "augmentation" / {"noise": "noise", "room_responses": "room"}[kind]
        return None

    def uses_cache(self, checkpoint: str) -> bool:
        """Whether a checkpoint is trained and decoded from cached encoder outputs."""
        return self.config.resources.cache_encoder and self.config.encoder_is_frozen(checkpoint)

    def parent_file(self, checkpoint: str) -> list[str]:
        """`checkpoint.json` of the parent; nothing where that is the foundation."""
        parent = self.config.stages[checkpoint].parent
        return [] if parent == "foundation" else [str(self.checkpoint(parent) / "checkpoint.json")]

    def cache_file(self, checkpoint: str, split: str) -> list[str]:
        """`cache.json` of the encoder outputs that a job of `checkpoint` reads on `split`, if it does."""
        return [str(self.cache(split) / "cache.json")] if self.uses_cache(checkpoint) else []

    def reasoning_file(self, checkpoint: str) -> list[str]:
        """The reflections, for stages that are trained on them."""
        return [str(self.reasoning())] if self.config.needs_reasoning_data(checkpoint) else []

    def shards(self) -> dict[str, list[str]]:
        """Groups of each decoding job, by the shard's name."""
        size = self.config.resources.languages_per_shard
        if size == 0:
            return {ALL: self.groups}
        return {self.groups[i]: self.groups[i : i + size] for i in range(0, len(self.groups), size)}

    def shard_files(self, checkpoint: str, decoding: str, split: str) -> list[str]:
        """Hypotheses of each shard."""
        folder = self.root / "hypotheses" / checkpoint / decoding / split
        return [str(folder / f"{shard}.parquet") for shard in self.shards()]

    def embedding_of(self, diarizer: str) -> EmbeddingConfig:
        """The speaker embedding of a diarizer."""
        return self.config.embeddings[self.config.diarizers[diarizer].embedding]

    def embedding_file(self, diarizer: str) -> list[str]:
        """The weights that a diarizer waits for; nothing where its embedding is a public checkpoint."""
        if self.embedding_of(diarizer).checkpoint:
            return []
        return [str(self.root / "embeddings" / self.config.diarizers[diarizer].embedding / "model.safetensors")]

    def transcriber_file(self, diarizer: str) -> str:
        """`checkpoint.json` of what transcribes a diarizer's segments."""
        return str(self.checkpoint(self.config.diarizers[diarizer].asr.checkpoint) / "checkpoint.json")

    def diarization_counts(self, diarizer: str, split: str) -> Path:
        """Error counts of a diarizer on a split."""
        return self.root / "diarization" / diarizer / split / "counts.parquet"

    def diarization_hypotheses(self, diarizer: str, split: str) -> Path:
        """What was transcribed of a diarizer's segments on a split."""
        return self.root / "diarization" / diarizer / split / "hypotheses.parquet"

    def measured_tables(self) -> list[str]:
        """The tables of which the configuration measures a row at least, in the paper's order."""
        return [table for table in self.tables if self._rows(table)]

    def measured(self, table: str) -> list[tuple[str, str, str]]:
        """(checkpoint, decoding, split) of everything a table needs.

        Besides its rows: their ancestors on dev, with the same decoding, so that what each stage did can be seen; and
        what transcribes the segments of its diarizers, so that what the segments cost can be. Where a table compares
        decodings of one checkpoint, or the context that only one was trained with, ancestors say nothing.
        """
        needed: dict[tuple[str, str, str], None] = {}
        for diarizer, split in self.diarized(table):
            asr = self.config.diarizers[diarizer].asr
            needed[asr.checkpoint, asr.decoding, split] = None
        systems = [(row.measures.checkpoint, row.measures.decoding) for row in self._rows(table)]
        compared = Counter(checkpoint for checkpoint, _ in dict.fromkeys(systems))
        for checkpoint, decoding in systems:
            if checkpoint is None or decoding is None:
                continue
            for split in self._splits(table):
                needed[checkpoint, decoding, split] = None
            if compared[checkpoint] == 1 and self.config.decodings[decoding].context == "none":
                for ancestor in self.config.lineage(checkpoint):
                    needed[ancestor, decoding, "dev"] = None
        return list(needed)

    def diarized(self, table: str) -> list[tuple[str, str]]:
        """(diarizer, split) of everything a table needs: its rows', and where it says so all others with them."""
        names = [row.measures.diarizer for row in self._rows(table) if row.measures.diarizer is not None]
        if names and self.tables[table].all_diarizers:
            names = list(self.config.diarizers)
        return [(name, split) for name in names for split in self._splits(table)]

    def _rows(self, table: str) -> list[PaperRow]:
        config = self.config
        return rows_for(self.tables[table], config.stages, config.decodings, config.diarizers)

    def _splits(self, table: str) -> list[str]:
        return ["dev", "test"] if "test" in self.tables[table].values else ["dev"]

    def table_inputs(self, table: str) -> dict[str, list[str]]:
        """Files that a table is made from, by kind."""
        measured = self.measured(table)
        checkpoints = dict.fromkeys(checkpoint for checkpoint, _, _ in measured)
        return {
            "scores": [str(self.scores(*system)) for system in measured],
            "hypotheses": [str(self.hypotheses(*system)) for system in measured],
            "reflections": [str(self.reflections(*system)) for system in measured],
            "diarization": [str(self.diarization_counts(*diarizer)) for diarizer in self.diarized(table)],
            "segments": [str(self.diarization_hypotheses(*diarizer)) for diarizer in self.diarized(table)],
            "logs": [str(self.checkpoint(name) / "training_log.parquet") for name in checkpoints],
            "manifests": [str(self.manifest(split)) for split in SPLITS],
            "external": self.external_inputs(),
        }

    def on_disk(self) -> list[tuple[str, str, str]]:
        """(checkpoint, decoding, split) of everything that has been scored so far and is part of the configuration."""
        found = [
            (checkpoint, decoding, split)
            for checkpoint in self.config.stages
            for decoding in self.config.decodings
            for split in ("dev", "test")
        ]
        kinds = (self.hypotheses, self.scores, self.reflections)
        return [system for system in found if all(path(*system).exists() for path in kinds)]

    def diarization_on_disk(self) -> list[tuple[str, str]]:
        """(diarizer, split) of everything that has been scored so far and is part of the configuration."""
        found = [(name, split) for name in self.config.diarizers for split in ("dev", "test")]
        kinds = (self.diarization_counts, self.diarization_hypotheses)
        return [diarizer for diarizer in found if all(path(*diarizer).exists() for path in kinds)]


CARD = "system.json"
SCORED = ("dev", "test")


class SystemsLayout:
    """Paths of what is brought and handed in; `Layout` has them too. Imports nothing heavy."""

    config: Config
    root: Path

    def external(self, system: str, split: str) -> Path:
        """Folder of a system of others on a split."""
        return self.root / "systems" / system / split

    def external_files(self, system: str, split: str) -> list[str]:
        """The files, or folders, that the configuration names for a system on a split."""
        given = self.config.systems[system].files[split]  # type: ignore[index]
        return [given] if isinstance(given, str) else list(given)

    def external_inputs(self) -> list[str]:
        """What says that each system of the configuration has been scored on each of its splits."""
        return [
            str(self.external(name, split) / CARD)
            for name, system in self.config.systems.items()
            for split in SCORED
            if split in system.files
        ]

    def tcpmer_inputs(self) -> dict[str, list[str]]:
        """Files that the comparison of all diarizers is made from, by kind: on dev, and on test where a table asks."""
        expected = {(diarizer, "dev") for diarizer in self.config.diarizers}
        expected.update(pair for table in self.measured_tables() for pair in self.diarized(table))
        files = [str(self.diarization_counts(*pair)) for pair in expected]
        return {"counts": sorted(files), "external": self.external_inputs()}

    def submitting(self, track: int) -> list[str]:
        """Systems that may be handed in on a track: every checkpoint with every decoding, or every diarizer; others."""
        config = self.config
        pairs = [f"{checkpoint}/{decoding}" for checkpoint in config.stages for decoding in config.decodings]
        return [*(pairs if track == 1 else config.diarizers), *config.systems]

    def submission_inputs(self, system: str, split: str, track: int) -> list[str]:
        """Files that what is handed in of a system is made from; none has to be scored, as test sets may be hidden."""
        if system in self.config.systems:
            return self.external_files(system, split)
        if track == 2:
            return [str(self.root / "diarization" / system / split / "hypothesis.stm")]
        pairs = ((checkpoint, decoding) for checkpoint in self.config.stages for decoding in self.config.decodings)
        checkpoint, decoding = next(pair for pair in pairs if "/".join(pair) == system)
        return self.shard_files(checkpoint, decoding, split)

    def measured_tables(self) -> list[str]:
        """Tables that the configuration measures."""
        raise NotImplementedError

    def diarized(self, table: str) -> list[tuple[str, str]]:
        """(diarizer, split) that a table needs."""
        raise NotImplementedError

    def diarization_counts(self, diarizer: str, split: str) -> Path:
        """Error counts of a diarizer on a split."""
        raise NotImplementedError

    def shard_files(self, checkpoint: str, decoding: str, split: str) -> list[str]:
        """Hypotheses of each shard."""
        raise NotImplementedError

    def external_on_disk(self) -> list[Path]:
        """Folders of all systems of others: the configuration's, in its order, and those of `mlcslm evaluate`.

        What a configuration has brought and no longer names is passed over.
        """
        expected = [Path(card).parent for card in self.external_inputs()]
        commanded = [
            card.parent
            for card in sorted(self.root.glob(f"systems/*/*/{CARD}"))
            if not card.parent.name.startswith(".")  # what a process is writing, or was killed at
            and card.parent not in expected
            and read_json(card, f"Delete {card.parent} and evaluate the system again.")["origin"] == "command"
        ]
        return [folder for folder in expected if (folder / CARD).exists()] + commanded
