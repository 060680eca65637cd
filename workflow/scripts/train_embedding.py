from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.speaker_embedding.training import EmbeddingPaths, train_embedding

    name = snakemake.wildcards.embedding
    paths = EmbeddingPaths(
        out=Path(snakemake.output.card).parent,
        work=layout.embedding_work(name),
        manifest=Path(snakemake.input.manifest),
        held_out=Path(snakemake.input.held_out),
        noise=layout.noise("noise"),
        room_responses=layout.noise("room_responses"),
        corpora=tuple(map(Path, snakemake.input.corpora)),
    )
    train_embedding(name, config, paths)
