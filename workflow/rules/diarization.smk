ANSWERING = [name for name, diarizer in preset.diarizers.items() if diarizer.stretch_s is not None]
SEGMENTING = "|".join(re.escape(name) for name in preset.diarizers if name not in ANSWERING) or NONE


rule diarize:
    input:
        manifest=rules.manifest.output[0],
        embedding=lambda wildcards: layout.embedding_file(wildcards.diarizer),
    output:
        segments=layout.diarization_segments("{diarizer}", "{split}"),
        rttm=directory(layout.diarization_rttm("{diarizer}", "{split}")),
    log:
        layout.log("diarize", "{diarizer}", "{split}"),
    benchmark:
        layout.benchmark("diarize", "{diarizer}", "{split}")
    wildcard_constraints:
        diarizer=SEGMENTING,
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.decoding_threads
    params:
        diarizer=lambda wildcards: preset.diarizers[wildcards.diarizer].model_dump(mode="json", exclude={"asr"}),
        embedding=lambda wildcards: layout.embedding_of(wildcards.diarizer).model_dump(
            mode="json", exclude={"training"}
        ),
        skip_faulty=preset.corpus.skip_faulty,
    script:
        "../scripts/diarize.py"


rule transcribe_segments:
    input:
        checkpoint=lambda wildcards: layout.transcriber_file(wildcards.diarizer),
        ctc=lambda wildcards: layout.ctc_file(*preset.transcriber(wildcards.diarizer)),
        engine=lambda wildcards: layout.engine_file(preset.transcriber(wildcards.diarizer)[1]),
        segments=rules.diarize.output.segments,
    output:
        hypotheses=layout.diarization_hypotheses("{diarizer}", "{split}"),
        stm=layout.diarization_stm("{diarizer}", "{split}"),
        seglst=layout.diarization_seglst("{diarizer}", "{split}"),
    log:
        layout.log("transcribe_segments", "{diarizer}", "{split}"),
    benchmark:
        layout.benchmark("transcribe_segments", "{diarizer}", "{split}")
    wildcard_constraints:
        diarizer=SEGMENTING,
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.decoding_threads
    params:
        transcriber=lambda wildcards: layout.transcriber(wildcards.diarizer),
    script:
        "../scripts/transcribe_segments.py"


# For readers of the results; no table depends on it.
rule draw_turns:
    input:
        manifest=rules.manifest.output[0],
        rttm=rules.diarize.output.rttm,
    output:
        directory(layout.turn_pictures("{diarizer}", "{split}")),
    log:
        layout.log("draw_turns", "{diarizer}", "{split}"),
    benchmark:
        layout.benchmark("draw_turns", "{diarizer}", "{split}")
    conda:
        "../../envs/mlcslm.yaml"
    script:
        "../scripts/draw_turns.py"
