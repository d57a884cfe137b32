"""What an entry may hold: fields, words of the vocabulary, identifiers."""
