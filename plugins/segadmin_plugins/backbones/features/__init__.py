"""Features made ready for models: in the order of the fit, scaled, with what is missing known."""
