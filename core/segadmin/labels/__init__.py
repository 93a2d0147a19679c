"""Label sets: where they come from, whom they label, and how labelled users are split."""
