import sys

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from mlcslm.config.reading import parse_config
from mlcslm.errors import UserError
from mlcslm.evaluation.transcribed_folder import check_folders
from mlcslm.config.inputs import describe_missing_inputs
from mlcslm.runtime.machine_faults import check_interpreter, check_results_folder, refuse_file
from mlcslm.io.places import refuse_tildes
from mlcslm.workflow.job import without_workflow_keys
from mlcslm.workflow.layout import Layout

try:
    check_interpreter(sys.executable)
    source = ", ".join(map(str, workflow.configfiles)) or "configuration"
    layout = Layout(parse_config(without_workflow_keys(config), source))
    refuse_file(layout.root)
    refuse_tildes(sys.argv[1:])  # targets; the workflow does not know them yet
    if workflow.is_main_process:
        layout.refuse_unavailable(sys.argv[1:])
        check_folders(layout.config.corpus, layout.config.languages)
except UserError as error:
    raise WorkflowError(str(error))

preset = layout.config
NONE = "(?!)"  # matches no name

# Only warnings, since the requested targets may not need them.
if workflow.is_main_process:
    for notice in filter(None, [describe_missing_inputs(preset), "\n".join(layout.notices())]):
        logger.warning(notice)


wildcard_constraints:
    split="train|dev|test",
    # Rules that score have a ready recogniser and its search in these two places.
    checkpoint="|".join(map(re.escape, [*preset.stages, *preset.recognizers])) or NONE,
    decoding="|".join(map(re.escape, dict.fromkeys([*preset.decodings, *dict(preset.decoded).values()]))) or NONE,
    recognizer="|".join(map(re.escape, preset.recognizers)) or NONE,
    encoder="|".join(map(re.escape, ["foundation", *preset.stages])),
    diarizer="|".join(map(re.escape, preset.diarizers)) or NONE,
    embedding="|".join(map(re.escape, preset.embeddings)) or NONE,
    corpus="|".join(map(re.escape, preset.speaker_corpora)) or NONE,
    of_dev="(dev/)?",
    external="|".join(map(re.escape, preset.systems)) or NONE,
    shard="[A-Za-z-]+",
    fold="[0-9]+-of-[0-9]+",
    table="table[1-8]",


def submitted_split(wildcards):
    """Split of a submission: the test set's are in the system's own folder, the development set's in `dev/`."""
    return "dev" if wildcards.of_dev else "test"


def database_inputs():
    """Inputs of results.duckdb: what the requested tables need. Its job collects whatever else exists."""
    if workflow.is_main_process:
        return layout.database_inputs(layout.requested_tables(requested_targets()))
    return layout.database_inputs(())
