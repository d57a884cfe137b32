"""Templates of a new method folder."""

from tools.scaffold.method_folder import ScaffoldError, scaffold

__all__ = ["ScaffoldError", "scaffold"]
