"""Two groups, so that grammars and speech take seconds."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def groups(languages: dict[str, Any]) -> dict[str, Any]:
    return {name: languages[name] for name in ("English-American", "Korean")}
