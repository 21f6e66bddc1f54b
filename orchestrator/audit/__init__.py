"""Audits of finished trials: recompute what they logged, in plain PyTorch and without any of the fast paths."""
