"""How good a model is: metrics, calibration, intervals, abstention and paired comparison."""
