"""Records, protocols and boards: numbers with their provenance. Needs no torch."""
