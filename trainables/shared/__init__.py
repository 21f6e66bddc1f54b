"""Data that several trials share: trained dense weights and scores, computed once, and given masks and weights."""
