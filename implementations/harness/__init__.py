"""The shared harness: load, walk, prune, measure, record.

What it exports is listed in `__init__.pyi` and loaded on first use, so that reading records needs
neither torch nor transformers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
