from snakemake.exceptions import WorkflowError

from mlcslm.config import parse_config
from mlcslm.errors import UserError
from mlcslm.workflow import Layout, without_workflow_keys

try:
    source = ", ".join(map(str, workflow.configfiles)) or "configuration"
    layout = Layout(parse_config(without_workflow_keys(config), source))
except UserError as error:
    raise WorkflowError(str(error))

preset = layout.config
NONE = "(?!)"  # matches no name


wildcard_constraints:
    split="train|dev|test",
    checkpoint="|".join(map(re.escape, preset.stages)),
    decoding="|".join(map(re.escape, preset.decodings)),
    diarizer="|".join(map(re.escape, preset.diarizers)) or NONE,
    embedding="|".join(map(re.escape, preset.embeddings)) or NONE,
    corpus="|".join(map(re.escape, preset.speaker_corpora)) or NONE,
    shard="[A-Za-z-]+",
    table="table[1-7]",
