"""Training: the data of a fit, the fit itself, its tracking, the gate, and the search of options."""
