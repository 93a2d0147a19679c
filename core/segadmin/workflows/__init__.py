"""What each kind of job does: its request, its plan, and its stages."""
