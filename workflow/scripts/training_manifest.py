from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.corpus.manifest import read_manifest, write_manifest
    from mlcslm.runtime.progress import say
    from mlcslm.training.turns import training_manifest

    utterances = read_manifest(snakemake.input.manifest)
    table = training_manifest(utterances, longest_s=snakemake.params.longest_s)
    say(f"{utterances.num_rows:,} utterances, and {table.num_rows - utterances.num_rows:,} turns of several")
    write_manifest(table, snakemake.output[0])
