rule diarize:
    input:
        manifest=rules.manifest.output[0],
        embedding=lambda wildcards: layout.embedding_file(wildcards.diarizer),
    output:
        segments=layout.root / "diarization" / "{diarizer}" / "{split}" / "segments.parquet",
        rttm=directory(layout.root / "diarization" / "{diarizer}" / "{split}" / "rttm"),
    log:
        layout.root / "logs" / "diarize" / "{diarizer}" / "{split}.log",
    benchmark:
        layout.root / "benchmarks" / "diarize" / "{diarizer}" / "{split}.tsv"
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
        segments=rules.diarize.output.segments,
    output:
        hypotheses=layout.root / "diarization" / "{diarizer}" / "{split}" / "hypotheses.parquet",
        stm=layout.root / "diarization" / "{diarizer}" / "{split}" / "hypothesis.stm",
        seglst=layout.root / "diarization" / "{diarizer}" / "{split}" / "hypothesis.seglst.json",
    log:
        layout.root / "logs" / "transcribe_segments" / "{diarizer}" / "{split}.log",
    benchmark:
        layout.root / "benchmarks" / "transcribe_segments" / "{diarizer}" / "{split}.tsv"
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.decoding_threads
    params:
        decoding=lambda wildcards: preset.decodings[preset.diarizers[wildcards.diarizer].asr.decoding].model_dump(
            mode="json"
        ),
    script:
        "../scripts/transcribe_segments.py"


# For readers of the results; no table waits for it.
rule draw_turns:
    input:
        manifest=rules.manifest.output[0],
        rttm=rules.diarize.output.rttm,
    output:
        directory(layout.root / "diarization" / "{diarizer}" / "{split}" / "pictures"),
    log:
        layout.root / "logs" / "draw_turns" / "{diarizer}" / "{split}.log",
    benchmark:
        layout.root / "benchmarks" / "draw_turns" / "{diarizer}" / "{split}.tsv"
    conda:
        "../../envs/mlcslm.yaml"
    script:
        "../scripts/draw_turns.py"
