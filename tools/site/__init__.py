"""The site generator: reads catalog, methods and records, writes Markdown pages and data files.

`python -m tools.site` writes them to `build/docs`, and mkdocs renders that folder. The generator
does not import torch.
"""
