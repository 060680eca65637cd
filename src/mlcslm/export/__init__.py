"""Exporting a checkpoint as a self-contained model-hub folder with a model card."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.export.checkpoint import export_checkpoint as export_checkpoint
    from mlcslm.export.model_card import Measured as Measured
    from mlcslm.export.model_card import read_measured as read_measured

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.export.checkpoint": ("export_checkpoint",),
        "mlcslm.export.model_card": ("Measured", "read_measured"),
    },
)
