from mlcslm.decoding.grids import grid_with


# The decodings that a table compares on one checkpoint: the model is loaded and the speech encoded once for all. What
# is in place as it would be made now is left as it is.
rule decode_grid:
    input:
        checkpoint=rules.train.output.checkpoint,
        manifest=rules.manifest.output[0],
        cache=lambda wildcards: layout.cache_file(wildcards.checkpoint, wildcards.split),
    output:
        temp(layout.root / "work" / "decoding" / "{checkpoint}" / "{grid}" / "{split}" / "{shard}.done"),
    log:
        layout.root / "logs" / "decode_grid" / "{checkpoint}" / "{grid}" / "{split}" / "{shard}.log",
    benchmark:
        layout.root / "benchmarks" / "decode_grid" / "{checkpoint}" / "{grid}" / "{split}" / "{shard}.tsv"
    wildcard_constraints:
        grid="|".join(map(re.escape, layout.tables)),
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.grid_threads
    params:
        groups=lambda wildcards: layout.shards()[wildcards.shard],
    script:
        "../scripts/decode_grid.py"


def grid_marker(wildcards):
    grid = grid_with(layout, wildcards.checkpoint, wildcards.decoding, wildcards.split)
    folder = layout.root / "work" / "decoding" / wildcards.checkpoint
    return [str(folder / grid / wildcards.split / f"{wildcards.shard}.done")] if grid else []


# Takes what its grid's job has made, or decodes by itself.
rule decode:
    input:
        checkpoint=rules.train.output.checkpoint,
        manifest=rules.manifest.output[0],
        cache=lambda wildcards: layout.cache_file(wildcards.checkpoint, wildcards.split),
        # Ancient: that one decoding of a grid is made anew is no reason to score the others again.
        grid=lambda wildcards: ancient(grid_marker(wildcards)),
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


# For the reasoning data. Encoder outputs are never taken from the cache: its training audio is augmented.
rule decode_training_set:
    input:
        checkpoint=rules.train.output.checkpoint,
        manifest=layout.manifest("train"),
    output:
        layout.root / "reasoning" / "hypotheses" / "{checkpoint}" / "{shard}.parquet",
    log:
        layout.root / "logs" / "decode_training_set" / "{checkpoint}" / "{shard}.log",
    benchmark:
        layout.root / "benchmarks" / "decode_training_set" / "{checkpoint}" / "{shard}.tsv"
    # Reinforcement comes after it: the longest chain decides when the workflow ends.
    priority: 10
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.decoding_threads
    params:
        decoding=lambda wildcards: preset.decodings[preset.reasoning.decoding].model_dump(mode="json"),
        snr_db=preset.reasoning.snr_db,
        groups=lambda wildcards: layout.shards()[wildcards.shard],
    script:
        "../scripts/decode_training_set.py"
