"""Prompts, targets and answers as text (paper, sections 3.1 to 3.4), with the tokens added for them.

The frame is `USER: <S> <P> ASSISTANT: <T>`: the speech, the prompt, and the expected answer.

- plain: `USER: <|audio|> Transcribe the speech above ASSISTANT: TEXT`
- tagged: `USER: <speech> <|audio|> </speech> Transcribe the speech above ASSISTANT: <LANG_XX> <transcribe> TEXT
  </transcribe>`
- tagged-own-language: the same with the prompt in the utterance's language
- reasoning: the same with `<think> … </think>` between the language token and `<transcribe>`
- diarized: tagged-own-language for a stretch of a conversation; TEXT says who speaks when (`mlcslm.text.diarized`)
- choose: tagged-own-language with two first passes in the prompt; the answer is ` keep` for the first, ` other` for the
  second, or ` rewrite` before an answer of tagged
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from mlcslm.config.languages import Group
from mlcslm.errors import UserError
from mlcslm.text.diarized import Said, parse_diarized

Template = Literal["plain", "tagged", "tagged-own-language", "reasoning", "diarized", "choose"]
TEMPLATES: tuple[Template, ...] = get_args(Template)
Choice = Literal["keep", "other", "rewrite"]
"""What an answer of template "choose" begins with: the first pass that it takes, in their order, or neither."""
CHOICES: tuple[Choice, ...] = get_args(Choice)

ENGLISH_PROMPT = "Transcribe the speech above"
"""The prompt of stages 1 and 2, whatever the language (paper, section 3.1)."""

SPEECH, END_SPEECH = "<speech>", "</speech>"
TRANSCRIBE, END_TRANSCRIBE = "<transcribe>", "</transcribe>"
THINK, END_THINK = "<think>", "</think>"
PAIRED_TOKENS = (SPEECH, END_SPEECH, TRANSCRIBE, END_TRANSCRIBE, THINK, END_THINK)

AUDIO_TOKEN = "<|audio|>"
"""Placeholder in the prompt, one per 100 ms of audio: internal, replaced by the projector, never generated."""

_LANGUAGE = r"<LANG_\w+>"
_TAG = re.compile("|".join([_LANGUAGE, *map(re.escape, PAIRED_TOKENS)]))
# End and padding tokens of known tokenizers: <|im_end|>, <|endoftext|>, <|eot_id|>, <|audio|>, </s>, <s>, <pad>, <eos>.
_CONTROL = re.compile(r"<\|[^<>|\s]+\|>|</?s>|<pad>|<[be]os>|<unk>")
_THOUGHT = re.compile(rf"{THINK}(.*?)(?:{END_THINK}|(?={TRANSCRIBE})|\Z)", re.DOTALL)
_TRANSCRIPT = re.compile(rf"{TRANSCRIBE}(.*?)(?:{END_TRANSCRIBE}|\Z)", re.DOTALL)
_WELL_FORMED_TAGGED = re.compile(rf"\s*{_LANGUAGE}\s*{TRANSCRIBE}(.*){END_TRANSCRIBE}\s*", re.DOTALL)
_CHOSEN = re.compile(r"\s*(?:(?P<choice>keep|other)|rewrite(?P<answer>.*))\s*", re.DOTALL)
_WELL_FORMED_REASONING = re.compile(
    rf"\s*{_LANGUAGE}\s*{THINK}(.*){END_THINK}\s*{TRANSCRIBE}(.*){END_TRANSCRIBE}\s*", re.DOTALL
)


@dataclass(frozen=True)
class Answer:
    """What a generated text says.

    language: its language token, or None; transcript: what it transcribed, white space collapsed; think: the text
    between `<think>` and `</think>`, or None; well_formed: whether it matches the template exactly.
    """

    language: str | None
    transcript: str
    think: str | None
    well_formed: bool


def added_tokens(groups: Iterable[Group]) -> list[str]:
    """The tokens that stage 2 adds to the vocabulary: the groups' language tokens in order, then the three pairs.

    The challenge's 15 groups have 11 languages, hence 17 tokens (paper, section 3.2). Raises UserError for a language
    token that could not be recognised in answers.

    >>> added_tokens([Group("French", "French", "fr", "<LANG_FR>", "word", "Transcrivez")])[:3]
    ['<LANG_FR>', '<speech>', '</speech>']
    """
    languages = list(dict.fromkeys(group.token for group in groups))
    for token in languages:
        if not re.fullmatch(_LANGUAGE, token):
            raise UserError(f"languages table: token {token!r} found, expected the form <LANG_XX>.")
    return [*languages, *PAIRED_TOKENS]


def prompt_text(group: Group, template: Template, context: Sequence[str] = (), first_passes: Sequence[str] = ()) -> str:
    r"""Text before the answer, `USER: <S> <P> ASSISTANT:`, with one `<|audio|>` for the speech.

    context: transcripts of the preceding utterances, oldest first; each becomes a line after the prompt (section 4.1).
    first_passes: what other recognisers heard in this utterance, as the last lines, marked as transcripts.

    >>> french = Group("French", "French", "fr", "<LANG_FR>", "word", "Transcrivez le discours ci-dessus")
    >>> prompt_text(french, "plain")
    'USER: <|audio|> Transcribe the speech above ASSISTANT:'
    >>> prompt_text(french, "tagged-own-language", context=["Bonjour.", "Ça va ?"])
    'USER: <speech> <|audio|> </speech> Transcrivez le discours ci-dessus\nBonjour.\nÇa va ? ASSISTANT:'
    >>> prompt_text(french, "tagged", first_passes=["sa va"])
    'USER: <speech> <|audio|> </speech> Transcribe the speech above\n<transcribe> sa va </transcribe> ASSISTANT:'
    """
    _check_template(template)
    speech = AUDIO_TOKEN if template == "plain" else f"{SPEECH} {AUDIO_TOKEN} {END_SPEECH}"
    prompt = ENGLISH_PROMPT if template in ("plain", "tagged") else group.prompt
    heard = (" ".join(filter(None, [TRANSCRIBE, plain_text(one), END_TRANSCRIBE])) for one in first_passes)
    text = "\n".join([prompt, *(plain_text(line) for line in context), *heard])
    return f"USER: {speech} {text} ASSISTANT:"


def target_text(
    group: Group, template: Template, transcript: str, think: str | None = None, choice: Choice | None = None
) -> str:
    """The text that the model is trained to answer; the end token follows it.

    think: the reflection, for the template "reasoning" only; choice: for "choose" only. With "diarized", the transcript
    is `diarized_text`.

    >>> french = Group("French", "French", "fr", "<LANG_FR>", "word", "Transcrivez le discours ci-dessus")
    >>> target_text(french, "plain", "Ça va ?")
    ' Ça va ?'
    >>> target_text(french, "tagged", "Ça va ?")
    ' <LANG_FR> <transcribe> Ça va ? </transcribe>'
    >>> [target_text(french, "choose", "Oui", choice=choice) for choice in ("keep", "rewrite")]
    [' keep', ' rewrite <LANG_FR> <transcribe> Oui </transcribe>']
    """
    _check_template(template)
    if (choice is not None) != (template == "choose"):
        raise ValueError(f"template {template!r} with choice={choice!r}: only 'choose' has a choice, and needs one")
    if choice is not None:
        return f" {choice}" + (target_text(group, "tagged", transcript) if choice == "rewrite" else "")
    if (think is not None) != (template == "reasoning"):
        raise ValueError(
            f"template {template!r} with think={think!r}: only 'reasoning' has a reflection, and needs one"
        )
    transcript = plain_text(transcript)
    if template == "plain":
        return f" {transcript}"
    thought = f"{THINK} {plain_text(think)} {END_THINK} " if think is not None else ""
    return f" {group.token} {thought}{TRANSCRIBE} {transcript} {END_TRANSCRIBE}"


def parse_answer(
    raw: str, template: Template, longest_s: float = float("inf"), first_passes: Sequence[str] = ()
) -> Answer:
    """Parse a generated text. Malformed text is parsed as far as possible: nothing that was transcribed is lost.

    The transcript is the text after `<transcribe>`, up to `</transcribe>` or the end; without that tag, everything
    outside `<think>` that is not a tag. End and padding tokens are dropped. With "diarized" it is the words alone, and
    times beyond `longest_s`, the length of what was heard in seconds, are malformed. With "choose" it is the one of
    `first_passes` that is chosen, and the first if the answer is malformed. Raises ValueError if there are not two.

    >>> parse_answer("<LANG_FR><transcribe> Ça va ? </transcribe><|im_end|>", "tagged")
    Answer(language='<LANG_FR>', transcript='Ça va ?', think=None, well_formed=True)
    >>> parse_answer("<LANG_FR> <transcribe> Ça va", "tagged")
    Answer(language='<LANG_FR>', transcript='Ça va', think=None, well_formed=False)
    >>> parse_answer(" other", "choose", first_passes=["Sava ?", "Ça va ?"])
    Answer(language=None, transcript='Ça va ?', think=None, well_formed=True)
    """
    _check_template(template)
    text = _CONTROL.sub(" ", raw)
    if template == "choose":
        return _parse_choice(text, first_passes)
    language = re.search(_LANGUAGE, text)
    thought = _THOUGHT.search(text)
    marked = _TRANSCRIPT.search(text, thought.end() if thought else 0) or _TRANSCRIPT.search(text)
    transcript = plain_text(marked.group(1) if marked else _THOUGHT.sub(" ", text))
    if template == "diarized":
        transcript = " ".join(one.text for one in parse_diarized(transcript)[0])
    return Answer(
        language=language.group() if language else None,
        transcript=transcript,
        think=plain_text(thought.group(1)) if thought else None,
        well_formed=_is_well_formed(text, template, longest_s),
    )


def _parse_choice(text: str, first_passes: Sequence[str]) -> Answer:
    if len(first_passes) != 2:
        raise ValueError(f"template 'choose' with {len(first_passes)} first passes, needs two")
    match = _CHOSEN.fullmatch(text)
    if match is not None and match["answer"] is not None:
        rewritten = parse_answer(match["answer"], "tagged")
        if rewritten.well_formed:
            return rewritten
    choice = match["choice"] if match is not None else None
    chosen = first_passes[CHOICES.index(choice or "keep")]
    return Answer(language=None, transcript=plain_text(chosen), think=None, well_formed=choice is not None)


def said_in(raw: str, longest_s: float) -> tuple[list[Said], int]:
    """Who says what when in a generated text under template "diarized", and its faults: `parse_diarized`."""
    text = _CONTROL.sub(" ", raw)
    marked = _TRANSCRIPT.search(text)
    return parse_diarized(plain_text(marked.group(1) if marked else text), longest_s)


def plain_text(text: str) -> str:
    """`text` without any tag or placeholder of the templates, white space collapsed.

    >>> plain_text(" a <think>  b\\n")
    'a b'
    """
    return " ".join(_TAG.sub(" ", text).replace(AUDIO_TOKEN, " ").split())


def _is_well_formed(text: str, template: Template, longest_s: float) -> bool:
    if template == "plain":
        return _TAG.search(text) is None
    match = (_WELL_FORMED_REASONING if template == "reasoning" else _WELL_FORMED_TAGGED).fullmatch(text)
    if match is None or any(_TAG.search(section) for section in match.groups()):
        return False
    return template != "diarized" or parse_diarized(plain_text(match.group(1)), longest_s)[1] == 0


def _check_template(template: str) -> None:
    if template not in TEMPLATES:
        raise UserError(f"template {template!r} found, expected one of: {', '.join(TEMPLATES)}.")
