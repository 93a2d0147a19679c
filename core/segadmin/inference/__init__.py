"""From a user's text and features to a segment."""
