"""Texts: prompt templates and answers, reflections, conversational context, scoring protocols."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.text.alignment import Edit as Edit
    from mlcslm.text.alignment import align as align
    from mlcslm.text.context import context_lines as context_lines
    from mlcslm.text.protocols import Protocol as Protocol
    from mlcslm.text.protocols import get_protocol as get_protocol
    from mlcslm.text.protocols import normalise_reference as normalise_reference
    from mlcslm.text.reflection import parse_reflection as parse_reflection
    from mlcslm.text.reflection import write_reflection as write_reflection
    from mlcslm.text.templates import Template as Template
    from mlcslm.text.templates import parse_answer as parse_answer
    from mlcslm.text.templates import prompt_text as prompt_text
    from mlcslm.text.templates import target_text as target_text

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.text.alignment": ("Edit", "align"),
        "mlcslm.text.context": ("context_lines",),
        "mlcslm.text.protocols": ("Protocol", "get_protocol", "normalise_reference"),
        "mlcslm.text.reflection": ("parse_reflection", "write_reflection"),
        "mlcslm.text.templates": ("Template", "parse_answer", "prompt_text", "target_text"),
    },
)
