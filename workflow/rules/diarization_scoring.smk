rule score_diarization:
    input:
        manifest=rules.manifest.output[0],
        rttm=rules.diarize.output.rttm,
        stm=rules.transcribe_segments.output.stm,
        # The same system on the reference's own segments, to measure what segments and speakers cost.
        oracle=lambda wildcards: layout.scores(*preset.transcriber(wildcards.diarizer), wildcards.split),
    output:
        layout.diarization_counts("{diarizer}", "{split}"),
    log:
        layout.log("score_diarization", "{diarizer}", "{split}"),
    benchmark:
        layout.benchmark("score_diarization", "{diarizer}", "{split}")
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.decoding_threads
    params:
        protocol=preset.scoring.protocol,
        normalise_hypothesis=preset.scoring.normalise_hypothesis,
    script:
        "../scripts/score_diarization.py"
