from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.runtime.progress import say
    from mlcslm.scoring.headline import headline
    from mlcslm.scoring.self_correction import write_self_correction
    from mlcslm.scoring.wer_counts import score_hypotheses

    manifest, hypotheses = Path(snakemake.input.manifest), Path(snakemake.input.hypotheses)
    for count, out in (
        (score_hypotheses, snakemake.output.scores),
        (write_self_correction, snakemake.output.reflections),
    ):
        count(
            manifest,
            hypotheses,
            Path(out),
            system=f"{snakemake.wildcards.checkpoint}/{snakemake.wildcards.decoding}",
            split=snakemake.wildcards.split,
            protocol=config.scoring.protocol,
            normalise_hypothesis=config.scoring.normalise_hypothesis,
            languages=Path(config.languages),
        )
    wildcards = snakemake.wildcards
    system = (wildcards.checkpoint, wildcards.decoding, wildcards.split)
    published = config.report.published
    say(headline(Path(snakemake.output.scores), *system, layout.tables.values(), published=published))
