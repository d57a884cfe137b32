"""The schema of an entry: fields, vocabulary, identifiers."""
