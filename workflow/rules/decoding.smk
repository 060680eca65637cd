rule decode:
    input:
        checkpoint=rules.train.output.checkpoint,
        manifest=rules.manifest.output[0],
        cache=lambda wildcards: layout.cache_file(wildcards.checkpoint, wildcards.split),
    output:
        layout.root / "hypotheses" / "{checkpoint}" / "{decoding}" / "{split}" / "{shard}.parquet",
    log:
        layout.root / "logs" / "decode" / "{checkpoint}" / "{decoding}" / "{split}" / "{shard}.log",
    benchmark:
        layout.root / "benchmarks" / "decode" / "{checkpoint}" / "{decoding}" / "{split}" / "{shard}.tsv"
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.decoding_threads
    params:
        decoding=lambda wildcards: preset.decodings[wildcards.decoding].model_dump(mode="json"),
        groups=lambda wildcards: layout.shards()[wildcards.shard],
    script:
        "../scripts/decode.py"
