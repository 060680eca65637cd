# mlcslm: train a reasoning speech LLM stage by stage, decode, score, and answer with the tables of the paper.
#
#   snakemake --cores all results/tables/table6.csv                                       the demo, on this machine
#   snakemake results-small/tables/table6.csv --cores all --configfile config/small.yaml  another preset
from snakemake.utils import min_version

min_version("9.0")

# A preset is whole: another one replaces the demo instead of being merged into it.
if not workflow.overwrite_configfiles:

    configfile: "config/demo.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/handlers.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/foundation.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/ctc.smk"
include: "workflow/rules/engines.smk"
include: "workflow/rules/decoding.smk"
include: "workflow/rules/first_pass.smk"
include: "workflow/rules/scoring.smk"
include: "workflow/rules/embeddings.smk"
include: "workflow/rules/diarization.smk"
include: "workflow/rules/diarization_answers.smk"
include: "workflow/rules/diarization_scoring.smk"
include: "workflow/rules/systems.smk"
include: "workflow/rules/results.smk"
include: "workflow/rules/averages.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        layout.targets(),
