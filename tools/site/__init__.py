"""The site generator: catalog, method folders and records in; pages, charts and data out.

Plain Python that never imports torch. `python -m tools.site --out DIR` writes the whole site in a
plain frame; `tools/site/hook.py` hands the same pages to mkdocs, whose theme frames them.
"""
