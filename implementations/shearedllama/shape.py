"""Comparing shapes with the dense one."""

from __future__ import annotations

from implementations.harness import UniformShape


def spread(shape: UniformShape, dense: UniformShape) -> float:
    """Return the difference between the largest and the smallest share of a width that is kept."""
    shares = (
        shape.hidden / dense.hidden,
        shape.group / dense.group,
        shape.channels / dense.channels,
    )
    return max(shares) - min(shares)


def shares_to_close(dense: UniformShape, shape: UniformShape) -> dict[str, float]:
    """Return the share of the gates of each kind that a shape does not have."""
    return {
        "blocks": 1 - shape.blocks / dense.blocks,
        "hidden": 1 - shape.hidden / dense.hidden,
        "query-heads": 1 - shape.group / dense.group,
        "channels": 1 - shape.channels / dense.channels,
    }
