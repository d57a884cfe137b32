"""The catalog: its files as text, what they may hold, its entries, their checks, its exports.

Rooms from the ground up, each of which imports only those before it: `documents` (YAML with lines
and problems), `schema` (fields, words, identifiers), `entries` (read and written), `checks`, and
`exports` beside them.
"""
