from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake):
    from mlcslm.decoding.hypothesis_files import merge_shards

    shards = [Path(shard) for shard in snakemake.input.shards]
    merge_shards(shards, Path(snakemake.input.manifest), Path(snakemake.output[0]))
