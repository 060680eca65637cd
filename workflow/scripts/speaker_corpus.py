from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.speaker_embedding.corpora import index_speakers

    name = snakemake.wildcards.corpus
    speakers, utterances = index_speakers(
        name, config.speaker_corpora[name], snakemake.output[0], skip_faulty=config.corpus.skip_faulty
    )
    print(f"{name}: {speakers:,} speakers, {utterances:,} utterances")
