"""Evaluation of models: metrics, calibration, intervals, abstention and paired comparison."""
