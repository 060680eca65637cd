# Each table also renews results.duckdb with everything that has been measured so far: one table can be had without
# paying for the others, and the database always holds what the tables show. `database` keeps two from writing at once.
rule table:
    input:
        unpack(lambda wildcards: layout.table_inputs(wildcards.table)),
        tables=preset.tables,
    output:
        csv=report(
            layout.root / "tables" / "{table}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        markdown=layout.root / "tables" / "{table}.md",
    log:
        layout.root / "logs" / "tables" / "{table}.log",
    benchmark:
        layout.root / "benchmarks" / "tables" / "{table}.tsv"
    conda:
        "../../envs/mlcslm.yaml"
    resources:
        database=1,
    params:
        bootstrap_samples=preset.scoring.bootstrap_samples,
        seed=preset.seed,
    script:
        "../scripts/table.py"


# What the 2026 challenge ranks by: tcpWER/tcpCER of every diarizer, pooled and averaged over groups.
rule tcpmer:
    input:
        unpack(lambda wildcards: layout.tcpmer_inputs()),
        tables=preset.tables,
    output:
        csv=layout.root / "tables" / "tcpmer.csv",
        markdown=layout.root / "tables" / "tcpmer.md",
    log:
        layout.root / "logs" / "tables" / "tcpmer.log",
    benchmark:
        layout.root / "benchmarks" / "tables" / "tcpmer.tsv"
    conda:
        "../../envs/mlcslm.yaml"
    resources:
        database=1,
    params:
        measure="tcpwer",
        bootstrap_samples=preset.scoring.bootstrap_samples,
        seed=preset.seed,
    script:
        "../scripts/averages.py"
