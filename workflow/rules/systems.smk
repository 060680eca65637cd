# Systems of others (docs/submissions.md): scored as ours are, so that tables, database and report have them too.
rule evaluate:
    input:
        files=lambda wildcards: layout.brought_files(wildcards.brought, wildcards.split),
        manifest=rules.manifest.output[0],
    output:
        card=layout.root / "systems" / "{brought}" / "{split}" / "system.json",
        counts=layout.root / "systems" / "{brought}" / "{split}" / "counts.parquet",
        hypotheses=layout.root / "systems" / "{brought}" / "{split}" / "hypotheses.parquet",
    log:
        layout.root / "logs" / "evaluate" / "{brought}" / "{split}.log",
    benchmark:
        layout.root / "benchmarks" / "evaluate" / "{brought}" / "{split}.tsv"
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.decoding_threads
    params:
        system=lambda wildcards: preset.systems[wildcards.brought].model_dump(mode="json", exclude={"files"}),
        protocol=preset.scoring.protocol,
        normalise_hypothesis=preset.scoring.normalise_hypothesis,
    script:
        "../scripts/evaluate.py"
