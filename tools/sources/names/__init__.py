"""How papers, people and venues are named, and when two names mean the same."""
