"""Search for papers that the catalog does not have: listings, topic, proposals."""
