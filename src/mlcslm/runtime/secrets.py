"""Access tokens and passwords: kept out of the configuration, which is copied into results, and out of logs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlcslm.errors import FaultyInput

_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 8  # shorter values may be ordinary words
# Tokens of model hubs and trackers by their form, and URLs that contain a password.
_FORMS = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}|\b(?:gh[opsu]|github_pat)_[A-Za-z0-9_]{20,}|\bsk-[A-Za-z0-9_-]{20,}|"
    r"\bAKIA[A-Z0-9]{16}\b|://[^/\s:@]+:[^/\s@]+@"
)


def redacted(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """`text` with `***` for the values of environment variables that hold secrets, and for whatever looks like a token.

    >>> redacted("401 for hunter2hunter2", {"HF_TOKEN": "hunter2hunter2"})
    '401 for ***'
    """
    for name, value in environment.items():
        if len(value) >= _SHORTEST and _NAMES.search(name):
            text = text.replace(value, "***")
    return _FORMS.sub("***", text)


def refuse_secrets(values: Mapping[str, Any], source: str | os.PathLike[str]) -> None:
    """Raise FaultyInput naming the keys of a configuration that hold a secret, never their values."""
    if keys := list(secrets_in(values)):
        raise FaultyInput(
            f"{source}: contains an access token or password, and the configuration is copied into results. Remove it "
            "and set an environment variable (HF_TOKEN, WANDB_API_KEY) instead",
            keys,
        )


def secrets_in(values: Any, key: str = "") -> Iterator[str]:
    """Dotted paths of configuration keys whose values or names look like an access token or a password.

    >>> list(secrets_in({"models": {"encoder": "https://me:password@host/model"}}))
    ['models.encoder']
    """
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from secrets_in(value, f"{key}.{name}".lstrip("."))
            if _FORMS.search(str(name)):
                yield key or "(whole file)"
    elif isinstance(values, list | tuple):
        for number, value in enumerate(values):
            yield from secrets_in(value, f"{key}.{number}")
    elif isinstance(values, str) and _FORMS.search(values):
        yield key
