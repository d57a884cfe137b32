"""Queries with the real client."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from tools.sources.lookup.identification import identify
from tools.sources.lookup.queries import fetch
from tools.sources.web.client import Client


@pytest.fixture
def said(client: Client) -> Callable[[str, Iterable[str]], dict[str, object]]:
    """Look up a text; return some of the facts by name."""

    def ask(text: str, names: Iterable[str]) -> dict[str, object]:
        facts = fetch(identify(text), client)
        return {name: getattr(facts, name) for name in names}

    return ask
