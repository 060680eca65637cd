import sys

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.config.languages import read_languages
    from mlcslm.corpus.faults import faults_path, write_faults
    from mlcslm.corpus.manifest import build_manifest, write_manifest

    out = snakemake.output[0]
    table, faults = build_manifest(
        snakemake.params.folder, read_languages(config.languages), skip_faulty=config.corpus.skip_faulty
    )
    if faults:
        write_faults(faults_path(out), faults)
        print(f"left out {len(faults)} faulty lines or sessions: see {faults_path(out)}", file=sys.stderr)
    write_manifest(table, out)
