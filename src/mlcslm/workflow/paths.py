"""Where files of a run are: every path below `results/` is spelt here."""

from __future__ import annotations

from pathlib import Path

from mlcslm.config.schema import Config, Split
from mlcslm.errors import UserError

CARD = "system.json"


def statistics_file(results: Path, split: str) -> Path:
    """Statistics of a split's corpus below the results folder, for readers who have no configuration."""
    return results / "manifests" / f"{split}.stats.json"


class Paths:
    """Paths below the results folder of a configuration.

    Names may be Snakemake's wildcards: a rule's outputs are `layout.manifest("{split}")` and the like.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.root = Path(config.results)
        self.splits: tuple[Split, ...] = config.corpus.splits

    def corpus(self, split: str) -> Path:
        """Folder of a split's sessions."""
        if self.config.corpus.generated(split):
            return self.root / "corpus" / split
        if split not in self.splits:
            raise UserError(
                f"{split}: the configuration has no such split. Expected its folder as corpus.folders.{split}; without "
                "it, tables show what is measured on the others."
            )
        return Path(self.config.corpus.folders[split])

    def demo_corpus(self) -> Path:
        """Description of the demo corpus, written last."""
        return self.root / "corpus" / "corpus.json"

    def manifest(self, split: str) -> Path:
        """Manifest of a split."""
        return self.root / "manifests" / f"{split}.parquet"

    def training_manifest(self) -> Path:
        """What is trained on: the training split's manifest, with its whole turns if they are configured."""
        return self.manifest("train" if self.config.corpus.turns_s is None else "train+turns")

    def corpus_statistics(self, split: str) -> Path:
        """Statistics of a split's corpus, written with its manifest."""
        return statistics_file(self.root, split)

    def cache(self, encoder: str, split: str) -> Path:
        """Folder of a split's cached outputs of an encoder: `foundation`, or the checkpoint that adapted it."""
        return self.root / "features" / encoder / split

    def cache_card(self, encoder: str, split: str) -> Path:
        """`cache.json` of a split's cached encoder outputs, written last."""
        return self.cache(encoder, split) / "cache.json"

    def ctc_head(self, encoder: str) -> Path:
        """Folder of the CTC head on an encoder: `foundation`, or the checkpoint that adapted it."""
        return self.root / "ctc" / encoder

    def ctc_card(self, encoder: str) -> Path:
        """`ctc.json` of the CTC head on an encoder, written last."""
        return self.ctc_head(encoder) / "ctc.json"

    def ctc_fold_head(self, encoder: str, fold: str) -> Path:
        """Folder of the CTC head on an encoder that was trained without a fold, such as `0-of-5`."""
        return self.root / "first_pass" / encoder / fold

    def ctc_fold_card(self, encoder: str, fold: str) -> Path:
        """`ctc.json` of such a head, written last."""
        return self.ctc_fold_head(encoder, fold) / "ctc.json"

    def first_passes(self, encoder: str) -> Path:
        """What the heads of all folds hear in the training set."""
        return self.root / "first_pass" / encoder / "train.parquet"

    def fold_hypotheses(self, checkpoint: str, decoding: str, shard: str) -> Path:
        """What a fold's checkpoint answers to the training sessions that it has not seen, one shard of them."""
        return self.root / "first_pass" / "hypotheses" / checkpoint / decoding / f"{shard}.parquet"

    def checkpoint(self, name: str) -> Path:
        """Folder of a checkpoint."""
        return self.root / "checkpoints" / name

    def checkpoint_card(self, name: str) -> Path:
        """`checkpoint.json` of a checkpoint, written last."""
        return self.checkpoint(name) / "checkpoint.json"

    def training_log(self, checkpoint: str) -> Path:
        """Loss and learning rate by step."""
        return self.checkpoint(checkpoint) / "training_log.parquet"

    def training_work(self, checkpoint: str) -> Path:
        """Folder of the resumable states of a stage under way."""
        return self.root / "work" / checkpoint

    def engine(self, name: str) -> Path:
        """Which engine there is on this machine, and where."""
        return self.root / "work" / "engines" / f"{name}.json"

    def shard_hypotheses(self, checkpoint: str, decoding: str, split: str, shard: str) -> Path:
        """Hypotheses of one shard of a system."""
        return self.root / "hypotheses" / checkpoint / decoding / split / f"{shard}.parquet"

    def pending_hypotheses(self, checkpoint: str, decoding: str, split: str, shard: str) -> Path:
        """The same, decoded by the job of another decoding of the checkpoint, for its own job to collect."""
        return self.root / "work" / "decoding" / checkpoint / decoding / split / f"{shard}.parquet"

    def hypotheses(self, checkpoint: str, decoding: str, split: str) -> Path:
        """Hypotheses of a system on a split."""
        return self.root / "hypotheses" / checkpoint / decoding / f"{split}.parquet"

    def training_hypotheses(self, checkpoint: str, shard: str) -> Path:
        """Hypotheses of one shard of the training set, for the reasoning data.

        Kept apart from others: they may be of noisy audio, or of only the sessions that a checkpoint has not seen.
        """
        return self.root / "reasoning" / "hypotheses" / checkpoint / f"{shard}.parquet"

    def reasoning(self) -> Path:
        """Reflections on the training set."""
        return self.root / "reasoning" / "reasoning.parquet"

    def scores(self, checkpoint: str, decoding: str, split: str) -> Path:
        """Error counts of a system on a split."""
        return self.root / "scores" / checkpoint / decoding / f"{split}.parquet"

    def oracles(self, checkpoint: str, decoding: str, split: str) -> Path:
        """Errors of the best of a consensus's first candidates on a split."""
        return self.root / "oracles" / checkpoint / decoding / f"{split}.parquet"

    def stage_costs(self) -> Path:
        """Operations of training each stage that a recipe is made of."""
        return self.root / "costs" / "stages.parquet"

    def reflections(self, checkpoint: str, decoding: str, split: str) -> Path:
        """Effects of a system's reflections on a split; empty for a system that does not reflect."""
        return self.root / "reflections" / checkpoint / decoding / f"{split}.parquet"

    def speaker_corpus(self, name: str) -> Path:
        """List of a speaker corpus's recordings."""
        return self.root / "speakers" / f"{name}.parquet"

    def embedding(self, name: str) -> Path:
        """Folder of a speaker embedding that is trained here."""
        return self.root / "embeddings" / name

    def embedding_weights(self, name: str) -> Path:
        """Weights of a speaker embedding that is trained here."""
        return self.embedding(name) / "model.safetensors"

    def embedding_card(self, name: str) -> Path:
        """Architecture and training of a speaker embedding that is trained here."""
        return self.embedding(name) / "model.json"

    def embedding_work(self, name: str) -> Path:
        """Folder of the resumable states of an embedding's training under way."""
        return self.root / "work" / "embeddings" / name

    def diarization(self, diarizer: str, split: str) -> Path:
        """Folder of a diarizer's results on a split."""
        return self.root / "diarization" / diarizer / split

    def diarization_segments(self, diarizer: str, split: str) -> Path:
        """Segments with their speakers."""
        return self.diarization(diarizer, split) / "segments.parquet"

    def diarization_stretches(self, diarizer: str, split: str) -> Path:
        """Stretches of the sessions that a model answers with speakers and times."""
        return self.diarization(diarizer, split) / "stretches.parquet"

    def diarization_answers(self, diarizer: str, split: str) -> Path:
        """What it answers."""
        return self.diarization(diarizer, split) / "answers.parquet"

    def diarization_rttm(self, diarizer: str, split: str) -> Path:
        """Folder of a diarizer's turns, one RTTM per session."""
        return self.diarization(diarizer, split) / "rttm"

    def diarization_hypotheses(self, diarizer: str, split: str) -> Path:
        """Transcripts of a diarizer's segments on a split."""
        return self.diarization(diarizer, split) / "hypotheses.parquet"

    def diarization_stm(self, diarizer: str, split: str) -> Path:
        """The same as STM."""
        return self.diarization(diarizer, split) / "hypothesis.stm"

    def diarization_seglst(self, diarizer: str, split: str) -> Path:
        """The same as SegLST."""
        return self.diarization(diarizer, split) / "hypothesis.seglst.json"

    def diarization_counts(self, diarizer: str, split: str) -> Path:
        """Error counts of a diarizer on a split."""
        return self.diarization(diarizer, split) / "counts.parquet"

    def turn_pictures(self, diarizer: str, split: str) -> Path:
        """Folder of pictures of a diarizer's turns beside the reference's."""
        return self.diarization(diarizer, split) / "pictures"

    def external(self, system: str, split: str) -> Path:
        """Folder of an external system on a split."""
        return self.root / "systems" / system / split

    def external_card(self, system: str, split: str) -> Path:
        """`system.json` of an external system on a split, written last."""
        return self.external(system, split) / CARD

    def external_counts(self, system: str, split: str) -> Path:
        """Error counts of an external system on a split."""
        return self.external(system, split) / "counts.parquet"

    def external_hypotheses(self, system: str, split: str) -> Path:
        """Transcripts of an external system on a split."""
        return self.external(system, split) / "hypotheses.parquet"

    def database(self) -> Path:
        """`results.duckdb`: everything that has been measured."""
        return self.root / "results.duckdb"

    def table(self, name: str, suffix: str = ".csv") -> Path:
        """A table as CSV, or as a page to read (`.md`)."""
        return self.root / "tables" / f"{name}{suffix}"

    def report(self) -> Path:
        """First page of the report."""
        return self.root / "report" / "index.html"

    def submission(self, system: str, track: int, of_dev: str = "", suffix: str | None = None) -> Path:
        """A submission file of the test set; of the development set with `of_dev="dev/"`. `.json`: the check of it."""
        suffix = suffix or (".txt" if track == 1 else ".stm")
        return self.root / "submissions" / system / f"{of_dev}track{track}{suffix}"

    def foundation(self, *names: str) -> Path:
        """A file of the foundation models' pretraining."""
        return self.root.joinpath("foundation", *names)

    def log(self, *names: str) -> Path:
        """Log file of a job, named by its rule and wildcards."""
        return self.root / "logs" / f"{'/'.join(names)}.log"

    def benchmark(self, *names: str) -> Path:
        """Snakemake's measurements of a job, named by its rule and wildcards."""
        return self.root / "benchmarks" / f"{'/'.join(names)}.tsv"
