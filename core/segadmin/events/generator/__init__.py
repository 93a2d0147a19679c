"""A shop that never was: logs with planted segments, of any size, whose truth is known."""
