"""The shared harness: load a model, walk its blocks, prune, measure and record.

`__init__.pyi` lists the exports; each is imported on first use, so that reading records needs
neither torch nor transformers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
