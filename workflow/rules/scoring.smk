rule merge_hypotheses:
    input:
        manifest=rules.manifest.output[0],
        shards=lambda wildcards: layout.shard_files(wildcards.checkpoint, wildcards.decoding, wildcards.split),
    output:
        layout.hypotheses("{checkpoint}", "{decoding}", "{split}"),
    log:
        layout.log("merge_hypotheses", "{checkpoint}", "{decoding}", "{split}"),
    benchmark:
        layout.benchmark("merge_hypotheses", "{checkpoint}", "{decoding}", "{split}")
    conda:
        "../../envs/mlcslm.yaml"
    script:
        "../scripts/merge_hypotheses.py"


rule score:
    input:
        manifest=rules.manifest.output[0],
        hypotheses=rules.merge_hypotheses.output[0],
    output:
        scores=layout.scores("{checkpoint}", "{decoding}", "{split}"),
        reflections=layout.reflections("{checkpoint}", "{decoding}", "{split}"),
    log:
        layout.log("score", "{checkpoint}", "{decoding}", "{split}"),
    benchmark:
        layout.benchmark("score", "{checkpoint}", "{decoding}", "{split}")
    conda:
        "../../envs/mlcslm.yaml"
    params:
        protocol=preset.scoring.protocol,
        normalise_hypothesis=preset.scoring.normalise_hypothesis,
    script:
        "../scripts/score.py"


# How good a choice among a consensus's candidates can be at most.
rule score_candidates:
    input:
        manifest=rules.manifest.output[0],
        hypotheses=rules.merge_hypotheses.output[0],
    output:
        layout.oracles("{checkpoint}", "{decoding}", "{split}"),
    log:
        layout.log("score_candidates", "{checkpoint}", "{decoding}", "{split}"),
    benchmark:
        layout.benchmark("score_candidates", "{checkpoint}", "{decoding}", "{split}")
    wildcard_constraints:
        decoding="|".join(map(re.escape, filter(layout.has_candidates, preset.decodings))) or NONE,
    conda:
        "../../envs/mlcslm.yaml"
    params:
        protocol=preset.scoring.protocol,
        normalise_hypothesis=preset.scoring.normalise_hypothesis,
    script:
        "../scripts/score_candidates.py"
