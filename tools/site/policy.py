"""The Content-Security-Policy of every page: what it may load and run, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import re

INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def protect(page: str, content: str = "") -> str:
    """Put the policy into a page's head; scripts inside its own `content` are never allowed.

    The theme has a few inline scripts, the same on every page of one depth; each is allowed by
    its hash. Everything else comes from files of this site.
    """
    theme = page.replace(content, "") if content else page
    hashes = sorted({f"'sha256-{_digest(script)}'" for script in INLINE.findall(theme)})
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(["'self'", *hashes]),
        "style-src": "'self'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "worker-src": "'self'",
        "manifest-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    text = "; ".join(f"{name} {value}" for name, value in policy.items())
    meta = f'<meta http-equiv="Content-Security-Policy" content="{text}">'
    return page.replace("<head>", f"<head>\n      {meta}", 1)


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
