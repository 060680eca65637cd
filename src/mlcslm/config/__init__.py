"""The configuration of a run: its sections and their checks, the languages table, the paper's tables as data."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.config.decoding import DecodingConfig as DecodingConfig
    from mlcslm.config.inputs import missing_inputs as missing_inputs
    from mlcslm.config.languages import Group as Group
    from mlcslm.config.languages import group_of_utterance as group_of_utterance
    from mlcslm.config.languages import read_languages as read_languages
    from mlcslm.config.paper_tables import read_paper_tables as read_paper_tables
    from mlcslm.config.reading import parse_config as parse_config
    from mlcslm.config.reading import read_config as read_config
    from mlcslm.config.reading import read_config_files as read_config_files
    from mlcslm.config.schema import Config as Config

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.config.decoding": ("DecodingConfig",),
        "mlcslm.config.inputs": ("missing_inputs",),
        "mlcslm.config.languages": ("Group", "group_of_utterance", "read_languages"),
        "mlcslm.config.paper_tables": ("read_paper_tables",),
        "mlcslm.config.reading": ("parse_config", "read_config", "read_config_files"),
        "mlcslm.config.schema": ("Config",),
    },
)
