"""Lookup of papers: identify a text, query the services, normalise their facts."""
