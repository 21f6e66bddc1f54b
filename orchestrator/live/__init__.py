"""Trials while they run: where they come from, how they stand, what people see of them, why they end early."""
