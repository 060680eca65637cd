"""The CTC head: probabilities against enumerated alignments, and heads that do not belong to the model."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from mlcslm.errors import UserError
from mlcslm.model.ctc import CtcHead, load_ctc_head, save_ctc_head
from mlcslm.model.speech_llm import SpeechLLM


def head(alphabet: str = "abc", width: int = 5, seed: int = 0) -> CtcHead:
    torch.manual_seed(seed)
    made = CtcHead(width, alphabet)
    torch.nn.init.normal_(made.linear.weight)
    return made.eval()


def collapsed(path: tuple[int, ...]) -> str:
    """What an alignment spells: repetitions merged, blanks removed."""
    return "".join("-abc"[one] for one, _ in itertools.groupby(path) if one)


def test_probabilities_are_sums_over_all_alignments() -> None:
    made = head()
    frames = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
    probabilities = made(frames).exp()
    of: dict[str, float] = {}
    for path in itertools.product(range(4), repeat=4):
        text = collapsed(path)
        of[text] = of.get(text, 0.0) + math.prod(probabilities[t, one].item() for t, one in enumerate(path))
    texts = ["", "a", "ab", "aa", "cab", "abca", "aab"]
    assert [math.exp(one) for one in made.score(frames, texts)] == pytest.approx([of[text] for text in texts], rel=1e-5)


def test_what_does_not_fit_is_impossible() -> None:
    """Two equal letters need a blank between them."""
    frames = torch.randn(2, 5)
    assert head().score(frames, ["aa", "abc"]) == [-math.inf, -math.inf]


def test_a_transcripts_score_depends_on_nothing_but_its_letters() -> None:
    made, frames = head(), torch.randn(9, 5)
    alone = [made.score(frames, [text])[0] for text in ("abc", "b", "")]
    assert made.score(frames, ["abc", "b", "abc", ""]) == pytest.approx([alone[0], alone[1], alone[0], alone[2]])
    # Spelled as references are scored, without what the head has no class for, the space here.
    assert made.score(frames, ["A, b; C!", "xb"]) == pytest.approx(made.score(frames, ["abc", "b"]))


def test_korean_syllables_are_spelled_out() -> None:
    made = head(alphabet="ᄀ나")
    assert made.classes("가나") == [1, 3, 2, 3]


def model(encoder: str = "e", adapters: str = "") -> SpeechLLM:
    return cast(SpeechLLM, SimpleNamespace(foundation={"encoder": {"fingerprint": encoder}}, encoder_adapters=adapters))


def test_a_head_comes_back_as_it_was(tmp_path: Path) -> None:
    made, frames = head("ab ć"), torch.randn(7, 5)
    save_ctc_head(tmp_path, made, encoder="e", adapters="x", loss=0.5)
    again = load_ctc_head(tmp_path, model("e", "x"))
    assert again.alphabet == "ab ć"
    assert torch.equal(again(frames), made(frames))


@pytest.mark.parametrize("of", [("other", "x"), ("e", "")])
def test_the_head_of_another_encoder_is_refused(tmp_path: Path, of: tuple[str, str]) -> None:
    save_ctc_head(tmp_path, head(), encoder="e", adapters="x", loss=0.5)
    with pytest.raises(UserError, match="head of another encoder"):
        load_ctc_head(tmp_path, model(*of))


def test_damage_is_named(tmp_path: Path) -> None:
    save_ctc_head(tmp_path, head(), encoder="e", adapters="", loss=0.5)
    weights = tmp_path / "ctc.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"ctc\.safetensors: SHA-256"):
        load_ctc_head(tmp_path)
    (tmp_path / "ctc.json").unlink()
    with pytest.raises(UserError, match=r"ctc\.json"):
        load_ctc_head(tmp_path)
