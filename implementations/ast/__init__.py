"""AST: see `README.md` and `ast.py` beside this file."""

from implementations.ast.ast import AST

__all__ = ["AST"]
