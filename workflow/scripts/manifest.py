from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.config.languages import read_languages
    from mlcslm.corpus.faults import faults_path, write_faults
    from mlcslm.corpus.manifest import read_corpus, write_manifest
    from mlcslm.corpus.statistics import corpus_statistics
    from mlcslm.evaluation.transcribed_folder import reader_of
    from mlcslm.io.files import write_json
    from mlcslm.runtime.progress import say

    out = snakemake.output[0]
    languages = read_languages(config.languages)
    reading = read_corpus(
        snakemake.params.folder,
        languages,
        reader=reader_of(Path(snakemake.params.folder), config.corpus.language, languages, option="corpus.language"),
        skip_faulty=config.corpus.skip_faulty,
        channels=config.corpus.channels,
        levels=True,
    )
    if reading.faults:
        write_faults(faults_path(out), reading.faults)
        say(f"skipped {len(reading.faults)} faulty lines or sessions: see {faults_path(out)}")
    for notice in reading.notices:
        say(notice)
    write_json(Path(snakemake.output.statistics), corpus_statistics(reading.table, reading.samples).as_json())
    write_manifest(reading.table, out)
