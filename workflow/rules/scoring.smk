rule score:
    input:
        manifest=rules.manifest.output[0],
        shards=lambda wildcards: layout.shard_files(wildcards.checkpoint, wildcards.decoding, wildcards.split),
    output:
        hypotheses=layout.root / "hypotheses" / "{checkpoint}" / "{decoding}" / "{split}.parquet",
        scores=layout.root / "scores" / "{checkpoint}" / "{decoding}" / "{split}.parquet",
        reflections=layout.root / "reflections" / "{checkpoint}" / "{decoding}" / "{split}.parquet",
    log:
        layout.root / "logs" / "score" / "{checkpoint}" / "{decoding}" / "{split}.log",
    benchmark:
        layout.root / "benchmarks" / "score" / "{checkpoint}" / "{decoding}" / "{split}.tsv"
    conda:
        "../../envs/mlcslm.yaml"
    params:
        protocol=preset.scoring.protocol,
        normalise_hypothesis=preset.scoring.normalise_hypothesis,
    script:
        "../scripts/score.py"
