"""What surrounds a running job: progress and logs, interruption, machine faults, and secrets kept out of both."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.runtime.interruption import Interrupted as Interrupted
    from mlcslm.runtime.interruption import between_steps as between_steps
    from mlcslm.runtime.interruption import exits_on_request as exits_on_request
    from mlcslm.runtime.job_log import logged as logged
    from mlcslm.runtime.machine_faults import check_results_folder as check_results_folder
    from mlcslm.runtime.machine_faults import machine_fault as machine_fault
    from mlcslm.runtime.progress import say as say
    from mlcslm.runtime.progress import waiting as waiting
    from mlcslm.runtime.progress import watched as watched
    from mlcslm.runtime.secrets import redacted as redacted
    from mlcslm.runtime.secrets import refuse_secrets as refuse_secrets

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.runtime.interruption": ("Interrupted", "between_steps", "exits_on_request"),
        "mlcslm.runtime.job_log": ("logged",),
        "mlcslm.runtime.machine_faults": ("check_results_folder", "machine_fault"),
        "mlcslm.runtime.progress": ("say", "waiting", "watched"),
        "mlcslm.runtime.secrets": ("redacted", "refuse_secrets"),
    },
)
