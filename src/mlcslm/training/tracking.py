"""TensorBoard and Weights & Biases, configured through the environment of transformers' own callbacks."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from mlcslm.config.schema import Config
from mlcslm.errors import UserError

_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb"}


@contextlib.contextmanager
def tracked(name: str, config: Config) -> Iterator[None]:
    """Let the trackers of `config` record the training inside this context under its stage's `name`.

    TensorBoard's files go to `<results>/tensorboard/<name>`, those of Weights & Biases below `<results>`; variables
    already set are kept. Raises UserError if a tracker's package is not installed.
    """
    tracking = config.tracking
    if missing := [one for one in tracking.report_to if importlib.util.find_spec(_PACKAGES[one]) is None]:
        extras = ",".join(missing)
        raise UserError(
            f"tracking.report_to has {', '.join(missing)}, which is not installed. Run: "
            f"pip install 'mlcslm[{extras}]', "
            "or remove it from the configuration."
        )
    folder = Path(config.results)
    values = {
        "tensorboard": {"TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard" / name)},
        "wandb": {
            "WANDB_DIR": str(folder),
            "WANDB_PROJECT": tracking.project,
            "WANDB_NAME": f"{config.preset} {name}",
        },
    }
    added = {key: value for one in tracking.report_to for key, value in values[one].items() if key not in os.environ}
    if "wandb" in tracking.report_to:
        folder.mkdir(parents=True, exist_ok=True)  # wandb replaces a missing folder with a temporary one
    os.environ.update(added)
    try:
        yield
    finally:
        if "wandb" in tracking.report_to and "wandb" in sys.modules:
            sys.modules["wandb"].finish()  # else the next stage in this process would continue this run
        for key in added:
            os.environ.pop(key, None)
