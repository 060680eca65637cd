"""Our counts against the challenge's scoring, reimplemented here from its rules, followed by meeteval."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meeteval.wer.wer.siso import siso_word_error_rate

from mlcslm.config.languages import read_languages
from mlcslm.scoring.error_counts import ErrorCounts, pool
from mlcslm.scoring.files import score_kaldi_texts
from mlcslm.scoring.wer import score_texts
from mlcslm.text.protocols import get_protocol

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
GROUPS = read_languages(LANGUAGES)
PUNCTUATION = re.compile(r"""[!"#$%&()*+,./:;<=>?@\[\\\]^_`{|}~\u3002\u3001\uff1f\uff01\u30fb\u00bf\u00a1\uff0c]""")
CHARACTER = (
    r"[\u1100-\u11ff\u2e80-\ua4cf\ua840-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff65-\uffdc\u3000-\u303f\uff01-\uff60"
    r"\u0e00-\u0e7f\U00020000-\U0002ffff]"
)

TEXTS = {
    "Thai": "ไม่เป็นไรครับ OK นะ ๑๒ 3.5, “ดี” … ํา ",
    "Korean": "네, 알겠습니다! KBS 뉴스 2시 ㅋㅋ （웃음） ",
    "Japanese": "そうです、ＮＨＫの「ニュース」を２回。ｶﾞ 𠮷野家 ・ iPhone15　ね？！， ヶ〜 ",
    "French": "Aujourd’hui, c'est l'été — « oui » N° 5 ! E\u0301cole ",
    "Vietnamese": "Tôi không biết. Đường phố? ",
    "Russian": "Ну… да; Ё-моё! ",
    "German": "Straße, STRASSE: „ja“ ẞ ",
    "Spanish": "¿Qué? ¡Ay! año\u00a0nuevo ",
    "English-Indian": "I'm, like, rock’n’roll [laughs] 50% İstanbul ﬁne ＦＵＬＬ ",
}


def official_counts(utterance_id: str, reference: str, hypothesis: str) -> ErrorCounts:
    """Normalise the reference, space both sides where the id names one of three languages, and count with meeteval."""
    reference = re.sub(" +", " ", PUNCTUATION.sub("", " ".join(reference.split()).lower()))
    sides = [reference, " ".join(hypothesis.split())]
    if "Japanese" in utterance_id or "Korean" in utterance_id or "Thai" in utterance_id:
        sides = [" ".join(part for part in re.split(f"({CHARACTER})", side) if part.strip()) for side in sides]
    rate = siso_word_error_rate(*sides)
    return ErrorCounts(rate.errors, rate.length, rate.insertions, rate.deletions, rate.substitutions)


def utterance_texts(group: str) -> st.SearchStrategy[str]:
    """Texts of a group's own characters and words, of all other groups' now and then, composed or not."""
    own, everybody = TEXTS.get(group, TEXTS["Spanish"]), " ".join(TEXTS.values())
    pieces = st.one_of(
        st.sampled_from(own), st.sampled_from(own.split()), st.sampled_from(everybody), st.sampled_from(" \t\u3000")
    )
    joined = st.lists(pieces, max_size=25).map("".join)
    anything = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=15)
    return st.one_of(
        joined,
        joined,
        st.lists(pieces, max_size=12).map(" ".join),
        joined.map(lambda text: unicodedata.normalize("NFD", text)),
        anything,
    )


@st.composite
def corpora(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, str]]:
    """References of one to six utterances with ids of drawn groups, and hypotheses of most of them."""
    references, hypotheses = {}, {}
    for number in range(draw(st.integers(1, 6))):
        group = draw(st.sampled_from(list(GROUPS)))
        utterance_id = f"{group}-0001_002-O1-{number:06d}-{number + 1:06d}"
        references[utterance_id] = draw(utterance_texts(group))
        if draw(st.integers(0, 9)):
            near = st.just(references[utterance_id])
            hypotheses[utterance_id] = draw(st.one_of(near, near.map(str.lower), utterance_texts(group)))
    return references, hypotheses


@settings(max_examples=400, deadline=None)
@given(corpora())
@pytest.mark.slow
def test_every_utterance_counts_as_officially(corpus: tuple[dict[str, str], dict[str, str]]):
    references, hypotheses = corpus
    groups = {utterance_id: GROUPS[utterance_id.split("-0001_")[0]] for utterance_id in references}
    expected = {
        utterance_id: official_counts(utterance_id, text, hypotheses.get(utterance_id, ""))
        for utterance_id, text in references.items()
    }
    assert score_texts(references, hypotheses, get_protocol("mlcslm-2025"), groups) == expected


@settings(max_examples=50, deadline=None)
@given(corpora())
def test_files_are_pooled_as_officially(tmp_path_factory, corpus: tuple[dict[str, str], dict[str, str]]):
    folder = tmp_path_factory.mktemp("kaldi")
    for name, texts in zip(("ref", "hyp"), corpus, strict=True):
        lines = "".join(f"{utterance_id} {text}\n" for utterance_id, text in texts.items())
        (folder / name).write_text(lines, encoding="utf-8", newline="")
    scores = score_kaldi_texts(folder / "ref", folder / "hyp", "mlcslm-2025", LANGUAGES)
    references, hypotheses = corpus
    by_group: dict[str, list[ErrorCounts]] = {}
    for utterance_id, text in references.items():
        counts = official_counts(utterance_id, text, hypotheses.get(utterance_id, ""))
        by_group.setdefault(utterance_id.split("-0001_")[0], []).append(counts)
    total = pool(count for counts in by_group.values() for count in counts)
    for found, expected in [
        (scores, total),
        *((scores["groups"][group], pool(counts)) for group, counts in by_group.items()),
    ]:
        assert ErrorCounts(**{name: found[name] for name in ErrorCounts.__dataclass_fields__}) == expected
        assert found["error_rate"] == expected.error_rate
    assert set(scores["groups"]) == set(by_group)
    assert scores["missing_hypotheses"] == len(references) - len(hypotheses)
