"""Each family on a random model of its own: loading, batches that change nothing, and answers in the family's form."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mlcslm.config.recognizers import RecognizerConfig
from mlcslm.errors import UserError
from mlcslm.recognition.loading import family_of, load_recognizer

FAMILIES = {
    "whisper": "whisper",
    "wav2vec2": "ctc",
    "hubert": "ctc",
    "parakeet_ctc": "ctc",
    "parakeet_tdt": "transducer",
    "parakeet_rnnt": "transducer",
    "moonshine": "seq2seq",
    "qwen3_asr": "qwen3_asr",
    "cohere_asr": "cohere_asr",
    "vibevoice_asr": "vibevoice_asr",
    "moss_transcribe_diarize": "moss_transcribe_diarize",
}
TOLD = {"whisper", "qwen3_asr", "cohere_asr"}


def recognizer(folder: Path, **decoding: object):
    return load_recognizer(RecognizerConfig(model=str(folder), decoding=decoding))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_has_the_answers_that_its_utterances_have_alone(family: str, saved, noises) -> None:
    one = recognizer(saved(family), max_new_tokens=12)
    assert type(one).__module__ == f"mlcslm.recognition.{FAMILIES[family]}"
    assert one.knows("fr") == (family in TOLD)
    languages = [("fr", "en")[i % 2] if one.knows("fr") else None for i in range(len(noises))]
    together = one.answer(one.prepare(noises, languages))
    alone = [one.answer(one.prepare([noise], [language]))[0] for noise, language in zip(noises, languages, strict=True)]
    assert together == alone
    assert len({tuple(answer.ids) for answer in together}) > len(noises) // 2  # it does listen
    assert one.parameters > 1000


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("languages", [["fr"] * 8, [None] * 8, ["de", None] * 4])
def test_whisper_answers_what_transformers_own_generate_answers(beams: int, languages, saved, noises) -> None:
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    folder = saved("whisper")
    ours = recognizer(folder, beams=beams)
    answers = ours.answer(ours.prepare(noises, languages))
    model, processor = (
        WhisperForConditionalGeneration.from_pretrained(folder),
        WhisperProcessor.from_pretrained(folder),
    )
    for noise, language, answer in zip(noises, languages, answers, strict=True):
        features = processor.feature_extractor(noise, sampling_rate=16000, return_tensors="pt").input_features
        ids = model.generate(features, language=language, task="transcribe", num_beams=beams)
        assert answer.text == processor.batch_decode(ids, skip_special_tokens=True)[0].strip()
        assert language is None or answer.language == language
        assert answer.ended == (len(answer.ids) < 24 - 4)


def test_an_answer_at_the_limit_is_truncated(saved, noises) -> None:
    short, long = (recognizer(saved("whisper"), max_new_tokens=limit) for limit in (1, 20))
    for limited, free in zip(*(one.answer(one.prepare(noises, ["fr"] * 8)) for one in (short, long)), strict=True):
        assert list(limited.ids) == list(free.ids)[:1]
        assert limited.ended == (not free.ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_silence_has_an_answer(family: str, saved) -> None:
    import numpy as np

    one = recognizer(saved(family), max_new_tokens=4)
    answers = one.answer(one.prepare([np.zeros(16000, np.float32)], [None]))
    assert len(answers) == 1 and isinstance(answers[0].text, str)


def test_whispers_window_leaves_the_silence_that_is_asked_for(saved, noises) -> None:
    windows = {0.5: 5, 3.0: 5, 3.1: 10, 12.9: 15, 26.0: 30, 29.0: 30}
    whole, short = recognizer(saved("whisper")), recognizer(saved("whisper"), silence_s=2)
    assert {seconds: short.window_s(seconds) for seconds in windows} == windows
    assert {whole.window_s(seconds) for seconds in windows} == {30}
    assert recognizer(saved("whisper"), silence_s=0).window_s(5.0) == 5
    every = recognizer(saved("whisper"), silence_s=30)
    assert every.answer(every.prepare(noises, ["fr"] * 8)) == whole.answer(whole.prepare(noises, ["fr"] * 8))


def test_a_shorter_window_is_the_encoder_over_just_that_window(saved, noises) -> None:
    import numpy as np
    import torch

    from mlcslm.model.encoder import ENCODER_WEIGHT_NAMES, SpeechEncoder

    folder = saved("whisper")
    one = recognizer(folder, silence_s=2, max_new_tokens=12)
    long = np.concatenate([noises[3]] * 2)  # 4 s: a window of 10 s
    parts = one.prepare([noises[0], long, noises[1]], ["fr", "en", "de"])
    assert [(part.indices, part.frames, part.languages) for part in parts] == [
        ([1], 1000, ["en"]),
        ([0, 2], 500, ["fr", "de"]),
    ]
    features = parts[1].features[:, :, :500]
    alone, _ = SpeechEncoder.from_pretrained(folder, key_mapping=ENCODER_WEIGHT_NAMES)(
        features, torch.ones(2, 500, dtype=torch.bool)
    )
    assert torch.allclose(one.encode(features), alone, atol=1e-5)
    together = one.answer(parts)
    for noise, code, answer in ((noises[0], "fr", together[0]), (long, "en", together[1])):
        assert one.answer(one.prepare([noise], [code])) == [answer]


def test_an_answer_without_end_is_given_anew_in_the_whole_window(saved, noises, monkeypatch) -> None:
    monkeypatch.setattr("mlcslm.recognition.whisper.TOKENS_PER_SECOND", 1)  # so that five tokens fit into 5 s
    short, whole = recognizer(saved("whisper"), silence_s=2), recognizer(saved("whisper"))
    languages = ["fr", None] * 4
    parts = short.prepare(noises, languages)
    first = [answer for _, answer in sorted(short._answers(parts).items())]
    assert max(len(answer.ids) for answer in first) == 5 and not all(answer.ended for answer in first)
    expected = whole.answer(whole.prepare(noises, languages))
    assert short.answer(parts) == [one if one.ended else other for one, other in zip(first, expected, strict=True)]


def test_only_whisper_has_a_window_to_shorten(saved) -> None:
    with pytest.raises(UserError, match=r"remove decoding\.silence_s"):
        recognizer(saved("hubert"), silence_s=2)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "processor_config.json"])
def test_a_missing_file_is_named(name: str, saved, tmp_path: Path) -> None:
    folder = shutil.copytree(saved("whisper"), tmp_path / "model")
    (folder / name).unlink()
    with pytest.raises(UserError, match="not found; expected the files of a model hub") as error:
        recognizer(folder)
    assert name.split(".")[-1] in str(error.value)


def test_a_missing_shard_is_named(saved, tmp_path: Path) -> None:
    folder = shutil.copytree(saved("whisper"), tmp_path / "model")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"model-00002\.safetensors not found"):
        recognizer(folder)


def test_missing_weights_are_named_and_never_drawn_at_random(saved, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(saved("hubert"), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lm_head\.weight: no such weight"):
        recognizer(folder)


@pytest.mark.parametrize("family", ["hubert", "parakeet_tdt"])
def test_beams_are_refused_where_there_is_no_beam_search(family: str, saved) -> None:
    with pytest.raises(UserError, match=r"decoded greedily; remove decoding\.beams"):
        recognizer(saved(family), beams=2)


@pytest.mark.parametrize("name", ["no/such/folder", "/nowhere", "./here", "whisper"])
def test_a_folder_that_is_missing_is_no_hub_id(name: str) -> None:
    with pytest.raises(UserError, match="no such folder"):
        recognizer(Path(name))


def test_a_model_that_is_no_recogniser_is_refused() -> None:
    with pytest.raises(UserError, match="model_type 'llama', which is no speech recogniser"):
        family_of("llama", "some/model")


@pytest.mark.parametrize(
    ("family", "raw", "language", "expected"),
    [
        ("qwen3_asr", "language French<asr_text>Bonjour à tous", None, ("Bonjour à tous", "fr", True)),
        ("qwen3_asr", "Bonjour", "fr", ("Bonjour", "fr", True)),
        ("qwen3_asr", "Bonjour", None, ("Bonjour", None, False)),
        ("qwen3_asr", "language None<asr_text>", None, ("", None, True)),
        (
            "vibevoice_asr",
            'assistant\n[{"Start":0,"End":1.5,"Speaker":0,"Content":"Hello."},{"Start":2,"End":3,"Speaker":1,'
            '"Content":"Hi!"}]\n',
            None,
            ("Hello. Hi!", None, True),
        ),
        ("vibevoice_asr", "nothing of the kind", None, ("nothing of the kind", None, False)),
        (
            "moss_transcribe_diarize",
            "[0.00][S01]Hello there.[7.56][8.1][S02] Yes.[9]",
            None,
            ("Hello there. Yes.", None, True),
        ),
        ("moss_transcribe_diarize", "Hello", None, ("Hello", None, False)),
    ],
)
def test_answers_are_read_as_the_family_writes_them(family: str, raw: str, language, expected, saved) -> None:
    assert recognizer(saved(family)).read(raw, language) == expected
