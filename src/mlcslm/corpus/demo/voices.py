"""The speakers of the demo corpus: the espeak-ng voice of each group, and the variants of each split."""

from __future__ import annotations

import numpy as np

from mlcslm.corpus.demo.synthesis import Voice
from mlcslm.errors import UserError

# espeak-ng has no Australian, Filipino or Indian English: three of its other accents stand in for them.
GROUP_VOICES = {
    "English-American": "en-us",
    "English-Australian": "en-gb-x-rp",
    "English-British": "en",
    "English-Filipino": "en-us-nyc",
    "English-Indian": "en-gb-scotland",
    "French": "fr",
    "German": "de",
    "Italian": "it",
    "Japanese": "ja",
    "Korean": "ko",
    "Portuguese": "pt-br",
    "Russian": "ru",
    "Spanish": "es",
    "Thai": "th",
    "Vietnamese": "vi",
}

# Variants that sound human (without robots, whispers and monsters). Unseen voices are unseen variants.
VARIANTS = {
    "dev": ("f2", "m3", "Andrea", "Mario", "belinda", "david", "paul", "steph"),
    "test": ("f4", "m5", "Alicia", "Michael", "linda", "edward", "quincy", "anika"),
    "train": (
        *("f1", "f3", "f5", "m1", "m2", "m4", "m6", "m7", "m8", "Alex", "Andy", "Annie", "Denis", "Diogo", "Gene"),
        *("Gene2", "Henrique", "Hugo", "Jacky", "Lee", "Marco", "Mike", "Nguyen", "Reed", "adam", "antonio", "aunty"),
        *("benjamin", "boris", "caleb", "ed", "edward2", "grandma", "grandpa", "gustave", "ian", "iven", "iven2"),
        *("john", "kaukovalta", "klatt", "klatt2", "klatt3", "marcelo", "max", "michel", "miguel", "mike2"),
        *("norbert", "pablo", "pedro", "rob", "robert", "sandro", "shelby", "steph2", "steph3", "travis", "victor"),
        *("zac", "iven3", "iven4"),
    ),
}


def draw_voice(group: str, split: str, rng: np.random.Generator, unlike: Voice | None = None) -> Voice:
    """Draw a speaker of `group` whose variant belongs to `split` and differs from that of `unlike`."""
    if group not in GROUP_VOICES:
        raise UserError(
            f"The demo corpus has no voice for group {group!r}. Expected groups: {', '.join(GROUP_VOICES)}; "
            "for other groups set `corpus.kind: folder` and provide recordings."
        )
    variants = [v for v in VARIANTS[split] if unlike is None or v != unlike.variant]
    return Voice(
        language=GROUP_VOICES[group],
        variant=variants[rng.integers(len(variants))],
        pitch=int(rng.integers(30, 71)),
        pitch_range=int(rng.integers(40, 61)),
        rate=int(rng.integers(140, 181)),
    )
