from mlcslm.workflow import job

with job(snakemake) as (config, layout):
    from mlcslm.evaluation.asking import evaluation_of
    from mlcslm.evaluation.evaluate import evaluate

    system, split = snakemake.wildcards.brought, snakemake.wildcards.split
    evaluate(evaluation_of(config, layout, system, split, jobs=snakemake.threads), layout.brought(system, split))
