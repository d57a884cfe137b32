"""How the commands end."""

from __future__ import annotations

import pytest

from tools.command_line import fail


def test_fail_escapes_control_characters() -> None:
    with pytest.raises(SystemExit, match=r"^a\\x1b\[2J\nb$"):
        fail("a\x1b[2J\nb")
