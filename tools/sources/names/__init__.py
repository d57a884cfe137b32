"""Names of papers, people and venues: parsing, normalisation, similarity."""
