"""Facts about papers from scholarly sources: arXiv, Crossref, OpenReview and others."""
