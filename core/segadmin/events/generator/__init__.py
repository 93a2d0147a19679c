"""Synthetic data: generated logs of any size with known segments."""
