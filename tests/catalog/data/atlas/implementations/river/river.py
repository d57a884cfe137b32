"""A method folder of the invented catalog, without a method."""
