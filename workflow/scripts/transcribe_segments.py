from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.config.languages import read_languages
    from mlcslm.decoding.generation import transcribe_segments
    from mlcslm.formats.diarizer_output import write_transcripts

    hypotheses = Path(snakemake.output.hypotheses)
    transcribe_segments(
        Path(snakemake.input.checkpoint).parent,
        Path(snakemake.input.segments),
        hypotheses,
        config.decodings[config.diarizers[snakemake.wildcards.diarizer].asr.decoding],
        read_languages(config.languages),
        encoder=config.models.encoder,
        language_model=config.models.language_model,
        compiled=config.resources.compile_decoding,
    )
    write_transcripts(hypotheses, Path(snakemake.output.stm), Path(snakemake.output.seglst))
