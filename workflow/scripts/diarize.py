from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.config.languages import read_languages
    from mlcslm.corpus.faults import faults_path, write_faults
    from mlcslm.diarization.pipeline import diarize_manifest, make_diarizer
    from mlcslm.formats.diarizer_output import write_turns
    from mlcslm.runtime.progress import say

    diarizer = config.diarizers[snakemake.wildcards.diarizer]
    trained = Path(snakemake.input.embedding[0]).parent if snakemake.input.embedding else None
    segments = Path(snakemake.output.segments)
    recordings, faults = diarize_manifest(
        Path(snakemake.input.manifest),
        make_diarizer(diarizer, config.embeddings[diarizer.embedding], trained),
        read_languages(config.languages),
        segments,
        skip_faulty=config.corpus.skip_faulty,
    )
    write_turns(segments, recordings, Path(snakemake.output.rttm))
    if faults:
        write_faults(faults_path(segments), faults)
        say(f"skipped {len(faults)} sessions with faulty audio: see {faults_path(segments)}")
