"""One trial: architecture, data, training, and the record of its results."""
