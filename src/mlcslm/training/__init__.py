"""Training the stages of the speech LLM: supervised fine-tuning and reinforcement learning, resumable at any step."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.training.batches import BatchPlan as BatchPlan
    from mlcslm.training.dataset import UtteranceDataset as UtteranceDataset
    from mlcslm.training.launch import launch_stage as launch_stage
    from mlcslm.training.reasoning_data import decoding_augmenter as decoding_augmenter
    from mlcslm.training.reasoning_data import write_reasoning_data as write_reasoning_data
    from mlcslm.training.rewards import reward_table as reward_table
    from mlcslm.training.settings import StagePaths as StagePaths
    from mlcslm.training.stage import train_stage as train_stage

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.training.batches": ("BatchPlan",),
        "mlcslm.training.dataset": ("UtteranceDataset",),
        "mlcslm.training.launch": ("launch_stage",),
        "mlcslm.training.reasoning_data": ("decoding_augmenter", "write_reasoning_data"),
        "mlcslm.training.rewards": ("reward_table",),
        "mlcslm.training.settings": ("StagePaths",),
        "mlcslm.training.stage": ("train_stage",),
    },
)
