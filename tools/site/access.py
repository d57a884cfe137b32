"""What the theme leaves out for people who use a keyboard or a screen reader."""

from __future__ import annotations

import re


def focusable_code(content: str) -> str:
    """Let the keyboard reach code blocks, which scroll where they are wider than the page."""
    return re.sub(r"(<pre[^<>]*>(?:<span></span>)?<code)(?=[ >])", r'\1 tabindex="0"', content)
