"""What Snakemake's rules and scripts share: the path of every file of a run, and how a script runs its function."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.workflow.layout import Layout as Layout
    from mlcslm.workflow.paths import statistics_file as statistics_file

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.workflow.layout": ("Layout",),
        "mlcslm.workflow.paths": ("statistics_file",),
    },
)
