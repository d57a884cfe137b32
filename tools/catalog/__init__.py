"""The catalog of papers.

The packages are layers, each of which imports only the previous ones: `documents` (YAML with line
numbers), `schema` (fields, vocabulary, identifiers), `entries` (reading and writing), then `checks`
and `exports`.
"""
