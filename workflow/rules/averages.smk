# All Track 1 systems, recognisers and external ones included: pooled, averaged over groups, by group, and compared.
rule systems:
    input:
        unpack(lambda wildcards: layout.systems_inputs()),
        tables=preset.tables,
        database=rules.database.output[0],
    output:
        csv=layout.table("systems"),
        markdown=layout.table("systems", ".md"),
    log:
        layout.log("tables", "systems"),
    benchmark:
        layout.benchmark("tables", "systems")
    conda:
        "../../envs/mlcslm.yaml"
    params:
        measure="wer",
        bootstrap_samples=preset.scoring.bootstrap_samples,
        seed=preset.seed,
    script:
        "../scripts/averages.py"


# The 2026 challenge's ranking: tcpWER/tcpCER of every diarizer, pooled and averaged over groups.
rule tcpmer:
    input:
        unpack(lambda wildcards: layout.tcpmer_inputs()),
        tables=preset.tables,
        database=rules.database.output[0],
    output:
        csv=layout.table("tcpmer"),
        markdown=layout.table("tcpmer", ".md"),
    log:
        layout.log("tables", "tcpmer"),
    benchmark:
        layout.benchmark("tables", "tcpmer")
    conda:
        "../../envs/mlcslm.yaml"
    params:
        measure="tcpwer",
        bootstrap_samples=preset.scoring.bootstrap_samples,
        seed=preset.seed,
    script:
        "../scripts/averages.py"
