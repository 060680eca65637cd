from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, _):
    from mlcslm.config.languages import read_languages
    from mlcslm.corpus.faults import faults_path, write_faults
    from mlcslm.decoding.answered import answer_sessions
    from mlcslm.decoding.engine_environment import read_engine
    from mlcslm.diarization.pipeline import make_diarizer
    from mlcslm.formats.diarizer_output import write_transcripts, write_turns

    name = snakemake.wildcards.diarizer
    diarizer = config.diarizers[name]
    trained = Path(snakemake.input.embedding[0]).parent if snakemake.input.embedding else None
    files = {key: Path(snakemake.output[key]) for key in ("stretches", "answers", "segments", "hypotheses")}
    recordings, faults = answer_sessions(
        Path(snakemake.input.manifest),
        make_diarizer(diarizer, config.embeddings[diarizer.embedding], trained),
        diarizer.stretch_s,
        Path(snakemake.input.checkpoint[0]).parent,
        config.decodings[config.transcriber(name)[1]],
        read_languages(config.languages),
        skip_faulty=config.corpus.skip_faulty,
        encoder=config.models.encoder,
        language_model=config.models.language_model,
        engine=read_engine(Path(snakemake.input.engine[0])) if snakemake.input.engine else None,
        **files,
    )
    write_turns(files["segments"], recordings, Path(snakemake.output.rttm))
    write_transcripts(files["hypotheses"], Path(snakemake.output.stm), Path(snakemake.output.seglst))
    if faults:
        write_faults(faults_path(files["segments"]), faults)
