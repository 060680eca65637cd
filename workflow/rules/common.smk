from snakemake.exceptions import WorkflowError

from mlcslm.config import parse_config
from mlcslm.errors import UserError
from mlcslm.workflow import Layout, without_workflow_keys

try:
    layout = Layout(parse_config(without_workflow_keys(config)))
except UserError as error:
    raise WorkflowError(str(error))

preset = layout.config


wildcard_constraints:
    split="train|dev|test",
    checkpoint="|".join(map(re.escape, preset.stages)),
    decoding="|".join(map(re.escape, preset.decodings)),
    shard="[A-Za-z-]+",
    table="table6",
