from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.evaluation.evaluate import evaluate
    from mlcslm.evaluation.request import configured_request

    system, split = snakemake.wildcards.external, snakemake.wildcards.split
    evaluate(configured_request(config, layout, system, split, jobs=snakemake.threads), layout.external(system, split))
