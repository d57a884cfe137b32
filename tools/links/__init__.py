"""Whether the addresses in the catalog still lead somewhere."""
