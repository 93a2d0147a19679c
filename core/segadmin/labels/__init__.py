"""Label sets: deriving them, reading them, and splitting labelled users."""
