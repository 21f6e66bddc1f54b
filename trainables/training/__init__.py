"""Training of one network: loop, step, evaluation, and fast paths that are verified before use."""
