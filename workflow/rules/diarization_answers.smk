# Diarization and transcription at once, by a model that was trained to say who speaks when (template `diarized`).
rule answer_sessions:
    input:
        manifest=rules.manifest.output[0],
        embedding=lambda wildcards: layout.embedding_file(wildcards.diarizer),
        checkpoint=lambda wildcards: layout.transcriber_file(wildcards.diarizer),
        engine=lambda wildcards: layout.engine_file(preset.transcriber(wildcards.diarizer)[1]),
    output:
        stretches=layout.diarization_stretches("{diarizer}", "{split}"),
        answers=layout.diarization_answers("{diarizer}", "{split}"),
        segments=layout.diarization_segments("{diarizer}", "{split}"),
        rttm=directory(layout.diarization_rttm("{diarizer}", "{split}")),
        hypotheses=layout.diarization_hypotheses("{diarizer}", "{split}"),
        stm=layout.diarization_stm("{diarizer}", "{split}"),
        seglst=layout.diarization_seglst("{diarizer}", "{split}"),
    log:
        layout.log("answer_sessions", "{diarizer}", "{split}"),
    benchmark:
        layout.benchmark("answer_sessions", "{diarizer}", "{split}")
    wildcard_constraints:
        diarizer="|".join(map(re.escape, ANSWERING)) or NONE,
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.decoding_threads
    params:
        diarizer=lambda wildcards: preset.diarizers[wildcards.diarizer].model_dump(mode="json"),
        transcriber=lambda wildcards: layout.transcriber(wildcards.diarizer),
        skip_faulty=preset.corpus.skip_faulty,
    script:
        "../scripts/answer_sessions.py"
