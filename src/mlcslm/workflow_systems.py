"""Where systems of others lie below the results folder, and the files that are handed in of any system."""

from __future__ import annotations

from pathlib import Path

from mlcslm.config import Config
from mlcslm.files import read_json

CARD = "system.json"
SCORED = ("dev", "test")


class SystemsLayout:
    """Paths of what is brought and handed in; `Layout` has them too. Imports nothing heavy."""

    config: Config
    root: Path

    def brought(self, system: str, split: str) -> Path:
        """Folder of a system of others on a split."""
        return self.root / "systems" / system / split

    def brought_files(self, system: str, split: str) -> list[str]:
        """The files, or folders, that the configuration names for a system on a split."""
        given = self.config.systems[system].files[split]  # type: ignore[index]
        return [given] if isinstance(given, str) else list(given)

    def brought_inputs(self) -> list[str]:
        """What says that each system of the configuration has been scored on each of its splits."""
        return [
            str(self.brought(name, split) / CARD)
            for name, system in self.config.systems.items()
            for split in SCORED
            if split in system.files
        ]

    def tcpmer_inputs(self) -> dict[str, list[str]]:
        """Files that the comparison of all diarizers is made from, by kind: on dev, and on test where a table asks."""
        wanted = {(diarizer, "dev") for diarizer in self.config.diarizers}
        wanted.update(pair for table in self.shown_tables() for pair in self.diarized(table))
        files = [str(self.diarization_counts(*pair)) for pair in wanted]
        return {"counts": sorted(files), "brought": self.brought_inputs()}

    def submitting(self, track: int) -> list[str]:
        """Systems that may be handed in on a track: every checkpoint with every decoding, or every diarizer; others."""
        config = self.config
        pairs = [f"{checkpoint}/{decoding}" for checkpoint in config.stages for decoding in config.decodings]
        return [*(pairs if track == 1 else config.diarizers), *config.systems]

    def submission_inputs(self, system: str, split: str, track: int) -> list[str]:
        """Files that what is handed in of a system is made from; none has to be scored, as test sets may be hidden."""
        if system in self.config.systems:
            return self.brought_files(system, split)
        if track == 2:
            return [str(self.root / "diarization" / system / split / "hypothesis.stm")]
        pairs = ((checkpoint, decoding) for checkpoint in self.config.stages for decoding in self.config.decodings)
        checkpoint, decoding = next(pair for pair in pairs if "/".join(pair) == system)
        return self.shard_files(checkpoint, decoding, split)

    def shown_tables(self) -> list[str]:
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

    def brought_on_disk(self) -> list[Path]:
        """Folders of all systems of others: the configuration's, in its order, and those of `mlcslm evaluate`.

        What a configuration has brought and no longer names is passed over.
        """
        wanted = [Path(card).parent for card in self.brought_inputs()]
        commanded = [
            card.parent
            for card in sorted(self.root.glob(f"systems/*/*/{CARD}"))
            if card.parent not in wanted
            and read_json(card, f"Delete {card.parent} and evaluate the system again.")["origin"] == "command"
        ]
        return [folder for folder in wanted if (folder / CARD).exists()] + commanded
