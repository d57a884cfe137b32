"""The site generator: catalog, method folders and records in; pages, charts and data out.

Plain Python that never imports torch. `tools/site/hook.py` hands its pages to mkdocs, and
`python -m tools.site --out DIR` writes them to a folder.
"""
