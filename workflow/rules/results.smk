# What recipes cost, by the plan; the manifest says how long utterances are.
rule stage_costs:
    input:
        manifest=layout.training_manifest(),
        languages=preset.languages,
    output:
        layout.stage_costs(),
    log:
        layout.log("stage_costs"),
    benchmark:
        layout.benchmark("stage_costs")
    conda:
        "../../envs/mlcslm.yaml"
    params:
        stages={name: preset.stages[name].model_dump(mode="json") for name in layout.recipe_stages()},
        ctc=layout.ctc_settings(),
    script:
        "../scripts/stage_costs.py"


# Everything that has been measured, in one file. Its inputs are what the requested tables need, so that one table does
# not cost the others; whatever else has been measured so far is included as it is.
rule database:
    input:
        unpack(lambda wildcards: database_inputs()),
        tables=preset.tables,
        languages=preset.languages,
    output:
        update(layout.database()),
    log:
        layout.log("database"),
    benchmark:
        layout.benchmark("database")
    conda:
        "../../envs/mlcslm.yaml"
    params:
        also=lambda wildcards: layout.also_measured(database_inputs()),
        bootstrap_samples=preset.scoring.bootstrap_samples,
        seed=preset.seed,
    script:
        "../scripts/database.py"


# A table is a view of the database, so it is rebuilt with it; tables that are not requested stay as they are. (Behind an
# `ancient` database Snakemake 9.27 would not notice that the table's own parameters or rows have changed.)
rule table:
    input:
        unpack(lambda wildcards: layout.table_inputs(wildcards.table)),
        tables=preset.tables,
        database=rules.database.output[0],
    output:
        csv=report(
            layout.table("{table}"),
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        markdown=layout.table("{table}", ".md"),
    log:
        layout.log("tables", "{table}"),
    benchmark:
        layout.benchmark("tables", "{table}")
    conda:
        "../../envs/mlcslm.yaml"
    params:
        published=preset.report.published,
        bootstrap_samples=preset.scoring.bootstrap_samples,
        seed=preset.seed,
    script:
        "../scripts/table.py"
