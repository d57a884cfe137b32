"""Exports of the catalog, one module per format; `formats` lists them."""
