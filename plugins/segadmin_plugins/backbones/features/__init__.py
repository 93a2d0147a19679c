"""Features prepared for models: ordered, scaled, with missing values marked."""
