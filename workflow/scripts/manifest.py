import sys
from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.config.languages import read_languages
    from mlcslm.corpus.faults import faults_path, write_faults
    from mlcslm.corpus.manifest import read_corpus, write_manifest
    from mlcslm.corpus.statistics import corpus_statistics
    from mlcslm.io.files import write_json

    out = snakemake.output[0]
    reading = read_corpus(
        snakemake.params.folder,
        read_languages(config.languages),
        skip_faulty=config.corpus.skip_faulty,
        channels=config.corpus.channels,
        levels=True,
    )
    if reading.faults:
        write_faults(faults_path(out), reading.faults)
        print(f"skipped {len(reading.faults)} faulty lines or sessions: see {faults_path(out)}", file=sys.stderr)
    for notice in reading.notices:
        print(notice, file=sys.stderr)
    write_json(Path(snakemake.output.statistics), corpus_statistics(reading.table, reading.samples).as_json())
    write_manifest(reading.table, out)
