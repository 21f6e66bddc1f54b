"""The training of one network: loop, step, evaluation, and the fast paths that prove themselves first."""
