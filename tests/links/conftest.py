"""Servers on ports of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.links.link_server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()
