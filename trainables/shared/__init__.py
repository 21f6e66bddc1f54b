"""What several trials share and is computed once: dense weights, scores, masks and weights that are given."""
