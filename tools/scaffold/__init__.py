"""A new method folder: everything it needs but the method."""

from tools.scaffold.method_folder import ScaffoldError, scaffold

__all__ = ["ScaffoldError", "scaffold"]
