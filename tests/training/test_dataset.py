"""Training examples: an utterance's prompt and answer with its audio, augmented per pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mlcslm.corpus.audio import read_segment
from mlcslm.corpus.augmentation import Augmenter, generate_noises
from mlcslm.errors import UserError
from mlcslm.model.distortions import Distortions, Masks
from mlcslm.model.encoder_cache import EncoderCache, write_encoder_cache
from mlcslm.model.foundation import load_encoder
from mlcslm.model.processor import SpeechProcessor
from mlcslm.training.dataset import UtteranceDataset


@pytest.fixture(scope="module")
def processor(encoder_folder: str, language_model_folder: str, languages) -> SpeechProcessor:
    from mlcslm.model.build import build_speech_llm

    return build_speech_llm(
        encoder=encoder_folder, language_model=language_model_folder, languages=languages, projector_hidden=8
    )[1]


@pytest.fixture(scope="module")
def rows(tones: Path) -> list[dict]:
    return pq.read_table(tones).to_pylist()


def changed(rows: list[dict], path: Path, **columns: list) -> Path:
    table = pa.Table.from_pylist(
        [row | {name: values[i] for name, values in columns.items()} for i, row in enumerate(rows)]
    )
    pq.write_table(table, path)
    return path


def test_an_example_is_its_utterance(tones: Path, rows: list[dict], processor: SpeechProcessor) -> None:
    dataset = UtteranceDataset(tones, processor, "tagged-own-language")
    assert len(dataset) == len(rows)
    assert dataset.lengths == pytest.approx([row["end"] - row["start"] for row in rows])
    index = next(i for i, row in enumerate(rows) if row["grp"] == "French")
    example, row = dataset[0, index], rows[index]
    text = processor.decode(example["input_ids"]).replace("<|audio|>", "")
    prompt, answer = text.split(" ASSISTANT:")
    assert "Transcrivez le discours ci-dessus" in prompt
    assert answer.split() == f"<LANG_FR><transcribe> {row['text']}</transcribe><|im_end|>".split()
    audio = read_segment(row["audio"], row["start"], row["end"])
    assert torch.equal(example["input_features"], processor.log_mel([audio])[0][0])
    assert example["input_ids"].count(processor.audio_token_id) == processor.audio_token_count(len(audio))
    learnt = [token for token, label in zip(example["input_ids"], example["labels"], strict=True) if label != -100]
    assert learnt == [label for label in example["labels"] if label != -100]
    assert processor.decode(learnt) == answer.lstrip()


def test_answers_are_written_as_references_are_scored(rows: list[dict], processor, tmp_path: Path) -> None:
    """Hypotheses are scored as they are, so the model must learn the normalised form."""
    texts = ["Yes, of COURSE!"] * len(rows)
    dataset = UtteranceDataset(changed(rows, tmp_path / "m.parquet", text=texts), processor, "plain")
    labels = [label for label in dataset[0, 0]["labels"] if label != -100]
    assert processor.decode(labels[:-1]).strip() == "yes of course"


def test_utterances_without_text_or_too_long_are_excluded(rows: list[dict], processor, tmp_path: Path) -> None:
    texts = [None, "", *["yes"] * (len(rows) - 2)]
    dataset = UtteranceDataset(
        changed(rows, tmp_path / "m.parquet", text=texts), processor, "plain", max_duration_s=0.7
    )
    expected = [i for i, row in enumerate(rows) if i >= 2 and row["end"] - row["start"] <= 0.7]
    assert 0 < len(expected) < len(rows) - 2
    assert [row["utterance_id"] for row in dataset.rows] == [rows[i]["utterance_id"] for i in expected]


def test_each_pass_augments_differently_and_repeatably(tones: Path, processor: SpeechProcessor, tmp_path: Path) -> None:
    generate_noises(tmp_path / "noise", seed=0, count=2)
    augmenter = Augmenter(1.0, tmp_path / "noise", None)
    datasets = [
        UtteranceDataset(tones, processor, "plain", distortions=Distortions(augmenter), seed=s) for s in (1, 1, 2)
    ]
    first = datasets[0][0, 3]["input_features"]
    assert torch.equal(first, datasets[1][0, 3]["input_features"])
    assert not torch.equal(first, datasets[0][1, 3]["input_features"])
    assert not torch.equal(first, datasets[2][0, 3]["input_features"])


def test_cached_variants_take_turns_by_pass(
    tones: Path, rows: list[dict], processor: SpeechProcessor, encoder_folder: str, tmp_path: Path
) -> None:
    generate_noises(tmp_path / "noise", seed=0, count=2)
    augmenter = Augmenter(1.0, tmp_path / "noise", None)
    write_encoder_cache(
        tmp_path / "cache",
        tones,
        encoder=encoder_folder,
        distortions=Distortions(augmenter),
        variants=2,
        dtype="float16",
    )
    cache = EncoderCache(tmp_path / "cache", tones)
    dataset = UtteranceDataset(tones, processor, "plain", cache=cache)
    frames = [dataset[number, 5]["encoder_frames"] for number in range(3)]
    assert frames[0].dtype == torch.float32
    assert torch.equal(frames[0], frames[2])
    assert not torch.equal(frames[0], frames[1])
    assert np.array_equal(frames[1].numpy(), cache.read(rows[5]["utterance_id"], 1).frames.astype(np.float32))


def test_speeds_and_masks_are_drawn_anew_in_each_pass_and_cached_as_they_are_heard(
    tones: Path, processor: SpeechProcessor, encoder_folder: str, tmp_path: Path
) -> None:
    """A cached copy is what the encoder makes of the features of the pass with its number."""
    drawn = Distortions(speeds=(0.8, 1.0, 1.25), masks=Masks(time=1, frames=20, share=0.5, bands=1, mels=20))
    write_encoder_cache(tmp_path / "cache", tones, encoder=encoder_folder, distortions=drawn, variants=3, seed=4)
    heard = UtteranceDataset(tones, processor, "plain", distortions=drawn, seed=4)
    cached = UtteranceDataset(tones, processor, "plain", cache=EncoderCache(tmp_path / "cache", tones))
    encoder = load_encoder(encoder_folder, dtype=torch.float32)[0].eval()
    for index in (2, 3):
        features = [heard[number, index]["input_features"] for number in range(3)]
        assert torch.equal(features[0], heard[0, index]["input_features"])
        assert any(one.shape != features[0].shape or not torch.equal(one, features[0]) for one in features[1:])
        for number, one in enumerate(features):
            with torch.inference_mode():
                frames = encoder(one[None], torch.ones(1, one.shape[1], dtype=torch.bool))[0][0]
            torch.testing.assert_close(cached[number, index]["encoder_frames"], frames, atol=2e-5, rtol=0)
            assert cached[number, index]["input_ids"] == heard[number, index]["input_ids"]


def test_times_in_answers_keep_their_speed(tones: Path, processor: SpeechProcessor) -> None:
    dataset = UtteranceDataset(tones, processor, "diarized", distortions=Distortions(speeds=(2.0,)))
    assert dataset.audio((0, 0))[1] == pytest.approx(16_000 * dataset.lengths[0], abs=1)


@pytest.mark.parametrize("max_duration_s", [0.7, 60.0])
def test_what_is_too_long_is_left_out_and_said_also_beyond_what_the_encoder_hears(
    rows: list[dict], processor: SpeechProcessor, max_duration_s: float, tmp_path: Path, capsys
) -> None:
    long = min(max_duration_s, 30.0)
    ends = [row["start"] + (long + 0.1 if number < 5 else long - 0.1) for number, row in enumerate(rows)]
    manifest = changed(rows, tmp_path / "m.parquet", end=ends)
    assert len(UtteranceDataset(manifest, processor, "plain", max_duration_s=max_duration_s)) == len(rows) - 5
    said = f"not trained on 5 of 24 utterances, which last longer than {long:g} s: {rows[0]['utterance_id']}, "
    assert said in capsys.readouterr().err


def test_a_fold_is_excluded(tones: Path, rows: list[dict], processor: SpeechProcessor) -> None:
    """Each group has one session: the first fold has all of them, the second none."""
    with pytest.raises(UserError, match=r"none of its 24 utterances outside fold \[0, 2\] has text and lasts at most"):
        UtteranceDataset(tones, processor, "plain", fold=(0, 2))
    assert len(UtteranceDataset(tones, processor, "plain", fold=(1, 2))) == len(rows)


def test_reflections_are_looked_up_by_utterance(
    tones: Path, rows: list[dict], processor: SpeechProcessor, reasoning: Path, tmp_path: Path
) -> None:
    table = pq.read_table(reasoning)
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    pq.write_table(shuffled, tmp_path / "shuffled.parquet")
    dataset = UtteranceDataset(tones, processor, "reasoning", reasoning=tmp_path / "shuffled.parquet")
    thoughts = dict(zip(table["utterance_id"].to_pylist(), table["think"].to_pylist(), strict=True))
    for index, row in enumerate(rows):
        answer = processor.decode([label for label in dataset[0, index]["labels"] if label != -100])
        expected = f"<think> {thoughts[row['utterance_id']]} </think> <transcribe> {row['text']} </transcribe>"
        assert answer.replace(" ", "").endswith(f"{expected}<|im_end|>".replace(" ", ""))


def test_an_utterance_without_a_reflection_is_named(
    tones: Path, rows: list[dict], processor: SpeechProcessor, reasoning: Path, tmp_path: Path
) -> None:
    pq.write_table(pq.read_table(reasoning).slice(1), tmp_path / "short.parquet")
    with pytest.raises(UserError, match=rf"no reflection for 1 of 24 .* {rows[0]['utterance_id']}"):
        UtteranceDataset(tones, processor, "reasoning", reasoning=tmp_path / "short.parquet")
    with pytest.raises(ValueError, match="'reasoning' has a reflection"):
        UtteranceDataset(tones, processor, "reasoning")[0, 0]
