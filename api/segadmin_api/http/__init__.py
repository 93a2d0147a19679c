"""The HTTP API: ``segadmin web``."""
