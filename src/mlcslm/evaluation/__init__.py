"""External hypotheses matched with references and scored, and submissions written and checked."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.evaluation.evaluate import read_card as read_card
    from mlcslm.evaluation.evaluate import score_system as score_system
    from mlcslm.evaluation.evaluate import write_system as write_system
    from mlcslm.evaluation.external_hypotheses import LoadedHypotheses as LoadedHypotheses
    from mlcslm.evaluation.external_hypotheses import load_external as load_external
    from mlcslm.evaluation.matching import References as References
    from mlcslm.evaluation.request import Evaluation as Evaluation
    from mlcslm.evaluation.request import command_request as command_request
    from mlcslm.evaluation.request import configured_request as configured_request
    from mlcslm.evaluation.submission import write_submission as write_submission

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.evaluation.evaluate": ("read_card", "score_system", "write_system"),
        "mlcslm.evaluation.external_hypotheses": ("LoadedHypotheses", "load_external"),
        "mlcslm.evaluation.matching": ("References",),
        "mlcslm.evaluation.request": ("Evaluation", "command_request", "configured_request"),
        "mlcslm.evaluation.submission": ("write_submission",),
    },
)
