from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake):
    from mlcslm.training.first_pass import write_first_passes

    write_first_passes(
        Path(snakemake.input.manifest),
        Path(snakemake.input.cache).parent,
        [Path(head).parent for head in snakemake.input.heads],
        Path(snakemake.output[0]),
    )
