from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.evaluation.evaluate import evaluate
    from mlcslm.evaluation.request import evaluation_of

    system, split = snakemake.wildcards.external, snakemake.wildcards.split
    evaluate(evaluation_of(config, layout, system, split, jobs=snakemake.threads), layout.external(system, split))
