from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.report.turn_pictures import draw_sessions

    draw_sessions(Path(snakemake.input.manifest), Path(snakemake.input.rttm), Path(snakemake.output[0]))
