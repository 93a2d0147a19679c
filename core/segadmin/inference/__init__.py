"""Inference: predicts segments from users' texts and features."""
