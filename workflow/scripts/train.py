from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.training.launch import launch_stage, tasks_of
    from mlcslm.training.settings import StagePaths

    name = snakemake.wildcards.checkpoint
    paths = StagePaths(
        out=Path(snakemake.output.checkpoint).parent,
        work=layout.training_work(name),
        manifest=Path(snakemake.input.manifest),
        parent=Path(snakemake.input.parent[0]).parent if snakemake.input.parent else None,
        cache=Path(snakemake.input.cache[0]).parent if snakemake.input.cache else None,
        noise=layout.noise("noise"),
        room_responses=layout.noise("room_responses"),
        reasoning=Path(snakemake.input.reasoning[0]) if snakemake.input.reasoning else None,
        hypotheses=tuple(map(Path, snakemake.input.hypotheses)),
        dev=Path(snakemake.input.dev[0]) if snakemake.input.dev else None,
        first_passes=tuple(tuple(map(Path, files)) for files in layout.first_pass_files(name)),
        ctc=Path(snakemake.input.ctc[0]).parent if snakemake.input.ctc else None,
        dev_first_passes=tuple(map(Path, snakemake.input.dev_first_passes)),
    )
    launch_stage(name, config, paths, tasks=tasks_of(snakemake.resources))
