"""Formulas of Pruner-Zero: expression trees over weights, gradients and inputs of a layer."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

TERMINALS = {
    "W": "magnitudes of the weights, `[out, in]`",
    "G": "norms of their gradients over the samples, `[out, in]`",
    "X": "squared norms of the inputs, averaged over the samples, `[1, in]`",
}


def min_max(x: Tensor) -> Tensor:
    """Scale a matrix to between 0 and 1; equal values become 1."""
    low, high = x.aminmax()
    return torch.ones_like(x) if high == low else (x - low) / (high - low)


def divide(x: Tensor, y: Tensor) -> Tensor:
    """Divide `x` by the norm of the whole matrix `y`, which is a number."""
    shape = torch.broadcast_shapes(x.shape, y.shape)
    norm: Tensor = torch.linalg.vector_norm(y.expand(shape))
    return x.expand(shape) / norm


FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "sqr": torch.square,
    "neg": torch.neg,
    "abs": torch.abs,
    "log": lambda x: (x.abs() + 0.001).log(),
    "exp": torch.exp,  # the official cap at 100 has no effect in fp32
    "sqrt": lambda x: x.abs().sqrt(),
    "tanh": torch.tanh,
    "pow": torch.square,  # named twice in the official set
    "skp": lambda x: x,
    "mms": min_max,
    "zsn": lambda x: (x - x.mean()) / x.std(),
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": divide,
}
BINARY = ("add", "sub", "mul", "div")


@dataclass(frozen=True)
class Formula:
    """A tree of functions, with `W`, `G` and `X` as its leaves."""

    name: str
    """Name of the function or terminal at the root."""
    parts: tuple[Formula, ...] = ()
    """Arguments of the function."""

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """Compute the formula, given the matrices of its terminals by name."""
        if self.name in TERMINALS:
            return values[self.name]
        return FUNCTIONS[self.name](*(part(values) for part in self.parts))

    def __contains__(self, terminal: str) -> bool:
        """Return whether the formula reads a terminal."""
        return self.name == terminal or any(terminal in part for part in self.parts)

    def __str__(self) -> str:
        if not self.parts:
            return self.name
        return f"{self.name}({', '.join(map(str, self.parts))})"


def parse_formula(value: object) -> Formula:
    """Parse a formula such as `mul(abs(W), sqrt(X))`, or a tree in the form of the official JSON.

    In that form, a node is an object with its name in `data` and its arguments in `left` and
    `right`. Raises `ValueError` for other forms and unknown names.
    """
    try:
        if isinstance(value, str):
            return _from_call(ast.parse(value.strip(), mode="eval").body)
        return value if isinstance(value, Formula) else _from_node(value)
    except (SyntaxError, MemoryError, RecursionError):
        raise _error("cannot be parsed") from None


def _from_call(node: ast.expr) -> Formula:
    """Convert the syntax tree of function calls."""
    if isinstance(node, ast.Name):
        return _checked(node.id, [])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _checked(node.func.id, [_from_call(argument) for argument in node.args])
    raise _error("must consist of function calls and terminals")


def _from_node(node: object) -> Formula:
    """Convert a node of the official JSON."""
    if not isinstance(node, dict) or "data" not in node or node.keys() - {"data", "left", "right"}:
        raise _error("must be text, or objects with `data`, `left` and `right`")
    parts = [node[side] for side in ("left", "right") if side in node]
    return _checked(str(node["data"]), [_from_node(part) for part in parts])


def _checked(name: str, parts: list[Formula]) -> Formula:
    if name not in TERMINALS and name not in FUNCTIONS:
        raise _error(f"has an unknown name {name[:20]!r}")
    needed = 0 if name in TERMINALS else 2 if name in BINARY else 1
    if len(parts) != needed:
        raise _error(f"has {name} with {len(parts)} arguments instead of {needed}")
    return Formula(name, tuple(parts))


def _error(problem: str) -> ValueError:
    return ValueError(
        f"the formula {problem}; write it as in mul(abs(W), sqrt(X)), with the terminals "
        f"{', '.join(TERMINALS)} and the functions {', '.join(FUNCTIONS)}"
    )
