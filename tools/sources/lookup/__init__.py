"""From a text to the service that knows the paper, and to facts that are fit for an entry."""
