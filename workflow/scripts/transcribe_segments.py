from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, _):
    from mlcslm.config.languages import read_languages
    from mlcslm.formats.diarizer_output import write_transcripts

    segments, hypotheses = Path(snakemake.input.segments), Path(snakemake.output.hypotheses)
    name, decoding = config.transcriber(snakemake.wildcards.diarizer)
    languages = read_languages(config.languages)
    if name in config.recognizers:
        from mlcslm.decoding.generation import SEGMENT_COLUMNS
        from mlcslm.recognition.split import recognize_split

        recognize_split(config.recognizers[name], segments, hypotheses, languages, name=name, columns=SEGMENT_COLUMNS)
    else:
        from mlcslm.decoding.engine_environment import read_engine
        from mlcslm.decoding.generation import transcribe_segments

        transcribe_segments(
            Path(snakemake.input.checkpoint[0]).parent,
            segments,
            hypotheses,
            config.decodings[decoding],
            languages,
            ctc=Path(snakemake.input.ctc[0]).parent if snakemake.input.ctc else None,
            encoder=config.models.encoder,
            language_model=config.models.language_model,
            compiled=config.resources.compile_decoding,
            engine=read_engine(Path(snakemake.input.engine[0])) if snakemake.input.engine else None,
        )
    write_transcripts(hypotheses, Path(snakemake.output.stm), Path(snakemake.output.seglst))
