"""Fitting: the rows that a backbone reads, the fit itself, and what is told of it while it runs."""
