"""Whether each small change of the pruning core fails a test."""
