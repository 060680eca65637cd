"""The demo corpus: two-speaker conversations from small grammars, spoken by espeak-ng."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.corpus.demo.conversations import write_demo_corpus as write_demo_corpus
    from mlcslm.corpus.demo.grammar import load_grammar as load_grammar
    from mlcslm.corpus.demo.grammar import split_of as split_of
    from mlcslm.corpus.demo.synthesis import Voice as Voice
    from mlcslm.corpus.demo.synthesis import speak_many as speak_many
    from mlcslm.corpus.demo.voices import draw_voice as draw_voice

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.corpus.demo.conversations": ("write_demo_corpus",),
        "mlcslm.corpus.demo.grammar": ("load_grammar", "split_of"),
        "mlcslm.corpus.demo.synthesis": ("Voice", "speak_many"),
        "mlcslm.corpus.demo.voices": ("draw_voice",),
    },
)
