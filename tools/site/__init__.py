"""The site generator: catalog, method folders and records in; Markdown pages and data files out.

`python -m tools.site` writes them to `build/docs`, and mkdocs renders that folder. It never imports
torch.
"""
