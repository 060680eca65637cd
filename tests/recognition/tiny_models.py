"""Random recognisers of each family, a few thousand weights each, in folders as a model hub gives them.

Tokenizers are byte-level or spell letters; chat templates are short ones of our own in each family's form, as the
hub's come with its weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "fr", "de", "ru")
_CHAT = """{% for message in messages %}<|im_start|>{{ message.role }}
{% for part in message.content %}{% if part.type == 'audio' %}BEGINAUDIOEND{% else %}{{ part.text }}{% endif %}\
{% endfor %}{% if not loop.last or add_generation_prompt %}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def _byte_level(folder: Path, special: list[str]) -> Any:
    """A byte-level tokenizer without merges: 256 bytes, then `special`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={one: i for i, one in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(one, special=True) for one in special])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def whisper(folder: Path, *, multilingual: bool = True) -> None:
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizerFast,
    )

    languages = [f"<|{one}|>" for one in LANGUAGES]
    special = ["<|endoftext|>", "<|startoftranscript|>", *languages, "<|transcribe|>", "<|notimestamps|>"]
    built = _byte_level(folder, special)
    ids = built.token_to_id
    tokenizer = WhisperTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    end = ids("<|endoftext|>")
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=built.get_vocab_size(),
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            max_target_positions=24,
            init_std=1.0,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
            decoder_start_token_id=ids("<|startoftranscript|>"),
            suppress_tokens=None,
            begin_suppress_tokens=None,
        )
    )
    settings: dict[str, Any] = {
        "lang_to_id": {one: ids(one) for one in languages},
        "task_to_id": {"transcribe": ids("<|transcribe|>")},
    }
    model.generation_config = GenerationConfig(
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=ids("<|startoftranscript|>"),
        no_timestamps_token_id=ids("<|notimestamps|>"),
        max_length=24,
        is_multilingual=multilingual,
        # Special tokens as answers would be dropped from the text.
        suppress_tokens=[ids(one) for one in special[1:]],
        **(settings if multilingual else {}),
    )
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer).save_pretrained(folder)


def _letters(folder: Path) -> dict[str, int]:
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {one: i for i, one in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnop"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    return vocabulary


def _wav2vec2(folder: Path, kind: str, *, mask: bool) -> None:
    import transformers
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

    vocabulary = _letters(folder)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16, 16),
        conv_kernel=(10, 8),
        conv_stride=(20, 16),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer" if mask else "group",
        do_stable_layer_norm=mask,
        initializer_range=1.0,
        pad_token_id=0,
    )
    getattr(transformers, f"{kind}ForCTC")(config).save_pretrained(folder)
    Wav2Vec2Processor(
        Wav2Vec2FeatureExtractor(return_attention_mask=mask), Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    ).save_pretrained(folder)


def wav2vec2(folder: Path) -> None:
    _wav2vec2(folder, "Wav2Vec2", mask=True)


def hubert(folder: Path) -> None:
    _wav2vec2(folder, "Hubert", mask=False)


def _parakeet_encoder() -> dict[str, Any]:
    return {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "subsampling_conv_channels": 4,
        "num_mel_bins": 80,
        "conv_kernel_size": 3,
        "max_position_embeddings": 512,
        "initializer_range": 0.5,
    }


def _parakeet(folder: Path, kind: str, **config: Any) -> None:
    import transformers
    from transformers import ParakeetFeatureExtractor, ParakeetProcessor, ParakeetTokenizer

    built = _byte_level(folder, ["<pad>", "<blank>"])
    pad, blank = built.token_to_id("<pad>"), built.token_to_id("<blank>")
    tokenizer = ParakeetTokenizer(tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>")
    values = {"vocab_size": built.get_vocab_size(), "encoder_config": _parakeet_encoder(), "pad_token_id": pad}
    if kind != "CTC":
        values |= {"blank_token_id": blank, "decoder_hidden_size": 16, "num_decoder_layers": 1} | config
    made = getattr(transformers, f"Parakeet{kind}Config")(**values)
    model = getattr(transformers, f"ParakeetFor{kind}")(made)
    for name, parameter in model.named_parameters():
        if "joint" in name or "head" in name:
            parameter.data.normal_(0, 1.0)
    if kind != "CTC":
        model.generation_config.decoder_start_token_id = blank
        model.generation_config.pad_token_id = pad
    model.save_pretrained(folder)
    ParakeetProcessor(ParakeetFeatureExtractor(feature_size=80), tokenizer, decoder_type=kind.lower()).save_pretrained(
        folder
    )


def parakeet_ctc(folder: Path) -> None:
    _parakeet(folder, "CTC")


def parakeet_tdt(folder: Path) -> None:
    _parakeet(folder, "TDT")


def parakeet_rnnt(folder: Path) -> None:
    _parakeet(folder, "RNNT", max_symbols_per_step=2)


def moonshine(folder: Path) -> None:
    from transformers import (
        GenerationConfig,
        MoonshineConfig,
        MoonshineForConditionalGeneration,
        PreTrainedTokenizerFast,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2Processor,
    )

    built = _byte_level(folder, ["<unk>", "<s>", "</s>"])
    start, end = built.token_to_id("<s>"), built.token_to_id("</s>")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    model = MoonshineForConditionalGeneration(
        MoonshineConfig(
            vocab_size=built.get_vocab_size(),
            hidden_size=32,
            intermediate_size=32,
            encoder_num_hidden_layers=1,
            decoder_num_hidden_layers=1,
            encoder_num_attention_heads=2,
            decoder_num_attention_heads=2,
            bos_token_id=start,
            eos_token_id=end,
            pad_token_id=end,
            decoder_start_token_id=start,
            initializer_range=1.0,
        )
    )
    model.generation_config = GenerationConfig(
        bos_token_id=start, eos_token_id=end, pad_token_id=end, decoder_start_token_id=start, max_length=64
    )
    model.save_pretrained(folder)
    Wav2Vec2Processor(
        Wav2Vec2FeatureExtractor(return_attention_mask=True, do_normalize=False), tokenizer
    ).save_pretrained(folder)


_QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def _text_config(size: int) -> dict[str, Any]:
    return {
        "vocab_size": size,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 4096,
        "initializer_range": 1.0,
        "tie_word_embeddings": True,
    }


def _settle(model: Any, end: int) -> None:
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=end)


def qwen3_asr(folder: Path) -> None:
    from transformers import (
        Qwen2TokenizerFast,
        Qwen3ASRConfig,
        Qwen3ASRFeatureExtractor,
        Qwen3ASRForConditionalGeneration,
        Qwen3ASRProcessor,
    )

    audio = {"audio_token": "<|audio_pad|>", "audio_bos_token": "<|audio_start|>", "audio_eos_token": "<|audio_end|>"}
    built = _byte_level(folder, [*_QWEN, *audio.values(), "<asr_text>"])
    ids = built.token_to_id
    tokenizer = Qwen2TokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="<|im_end|>", eos_token="<|im_end|>", **audio
    )
    model = Qwen3ASRForConditionalGeneration(
        Qwen3ASRConfig(
            audio_config={
                "num_mel_bins": 32,
                "encoder_layers": 1,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 32,
                "d_model": 16,
                "output_dim": 16,
                "downsample_hidden_size": 8,
                "initializer_range": 1.0,
            },
            text_config=_text_config(built.get_vocab_size()),
            audio_token_id=ids("<|audio_pad|>"),
            timestamp_token_id=ids("<|endoftext|>"),
            pad_token_id=ids("<|im_end|>"),
            eos_token_id=[ids("<|im_end|>")],
        )
    )
    _settle(model, ids("<|im_end|>"))
    model.save_pretrained(folder)
    template = (
        _CHAT.replace("BEGIN", "<|audio_start|>").replace("AUDIO", "<|audio_pad|>").replace("END", "<|audio_end|>")
    )
    Qwen3ASRProcessor(Qwen3ASRFeatureExtractor(feature_size=32), tokenizer, chat_template=template).save_pretrained(
        folder
    )


def cohere_asr(folder: Path) -> None:
    from transformers import (
        CohereAsrConfig,
        CohereAsrFeatureExtractor,
        CohereAsrForConditionalGeneration,
        CohereAsrProcessor,
        PreTrainedTokenizerFast,
    )

    prompt = ["▁", "<|startofcontext|>", "<|startoftranscript|>", "<|emo:undefined|>", "<|pnc|>", "<|noitn|>"]
    prompt += ["<|notimestamp|>", "<|nodiarize|>", *(f"<|{one}|>" for one in LANGUAGES)]
    built = _byte_level(folder, ["<pad>", "<eos>", *prompt])
    ids = built.token_to_id
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>", eos_token="<eos>"
    )
    model = CohereAsrForConditionalGeneration(
        CohereAsrConfig(
            encoder_config=_parakeet_encoder(),
            vocab_size=built.get_vocab_size(),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            pad_token_id=ids("<pad>"),
            eos_token_id=ids("<eos>"),
            bos_token_id=ids("<|startoftranscript|>"),
            decoder_start_token_id=ids("<|startoftranscript|>"),
            initializer_range=1.0,
        )
    )
    model.save_pretrained(folder)
    CohereAsrProcessor(CohereAsrFeatureExtractor(feature_size=80), tokenizer).save_pretrained(folder)


def vibevoice_asr(folder: Path) -> None:
    from transformers import (
        Qwen2TokenizerFast,
        VibeVoiceAcousticTokenizerFeatureExtractor,
        VibeVoiceAsrConfig,
        VibeVoiceAsrForConditionalGeneration,
        VibeVoiceAsrProcessor,
    )

    marks = ["<|object_ref_start|>", "<|box_start|>", "<|object_ref_end|>"]
    built = _byte_level(folder, [*_QWEN, *marks])
    ids = built.token_to_id
    tokenizer = Qwen2TokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="<|im_end|>", eos_token="<|im_end|>"
    )
    hearing = {"num_filters": 2, "depths": [1] * 7, "hidden_size": 8, "layer_scale_init_value": 1.0}
    text = _text_config(built.get_vocab_size())
    model = VibeVoiceAsrForConditionalGeneration(
        VibeVoiceAsrConfig(
            acoustic_tokenizer_encoder_config=hearing,
            semantic_tokenizer_encoder_config=hearing,
            text_config={name: value for name, value in text.items() if name != "head_dim"},
            audio_bos_token_id=ids(marks[0]),
            audio_token_id=ids(marks[1]),
            audio_eos_token_id=ids(marks[2]),
        )
    )
    _settle(model, ids("<|im_end|>"))
    model.save_pretrained(folder)
    template = _CHAT.replace("BEGIN", marks[0]).replace("AUDIO", marks[1]).replace("END", marks[2])
    VibeVoiceAsrProcessor(
        VibeVoiceAcousticTokenizerFeatureExtractor(), tokenizer, chat_template=template
    ).save_pretrained(folder)


def moss_transcribe_diarize(folder: Path) -> None:
    from transformers import (
        MossTranscribeDiarizeConfig,
        MossTranscribeDiarizeFeatureExtractor,
        MossTranscribeDiarizeForConditionalGeneration,
        MossTranscribeDiarizeProcessor,
        Qwen2TokenizerFast,
    )

    marks = ["<|audio_start|>", "<|audio_pad|>", "<|audio_end|>"]
    built = _byte_level(folder, [*_QWEN, *marks])
    ids = built.token_to_id
    tokenizer = Qwen2TokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="<|im_end|>", eos_token="<|im_end|>"
    )
    model = MossTranscribeDiarizeForConditionalGeneration(
        MossTranscribeDiarizeConfig(
            audio_config={
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 32,
                "hidden_size": 16,
                "initializer_range": 1.0,
            },
            text_config=_text_config(built.get_vocab_size()),
            audio_token_id=ids(marks[1]),
        )
    )
    _settle(model, ids("<|im_end|>"))
    model.save_pretrained(folder)
    template = _CHAT.replace("BEGIN", marks[0]).replace("AUDIO", marks[1]).replace("END", marks[2])
    MossTranscribeDiarizeProcessor(
        MossTranscribeDiarizeFeatureExtractor(),
        tokenizer,
        chat_template=template,
        audio_token=marks[1],
        audio_bos_token=marks[0],
        audio_eos_token=marks[2],
    ).save_pretrained(folder)


FAMILIES: dict[str, Callable[[Path], None]] = {
    "whisper": whisper,
    "wav2vec2": wav2vec2,
    "hubert": hubert,
    "parakeet_ctc": parakeet_ctc,
    "parakeet_tdt": parakeet_tdt,
    "parakeet_rnnt": parakeet_rnnt,
    "moonshine": moonshine,
    "qwen3_asr": qwen3_asr,
    "cohere_asr": cohere_asr,
    "vibevoice_asr": vibevoice_asr,
    "moss_transcribe_diarize": moss_transcribe_diarize,
}
"""All families whose processor can be built without a network and without further packages."""


def save(family: str, folder: Path, seed: int = 1) -> Path:
    """A random model of `family` in `folder`."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        FAMILIES[family](folder)
    return folder
