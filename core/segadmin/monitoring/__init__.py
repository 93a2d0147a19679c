"""Watches refreshes: drift of users' features and scores, missing events, and quality without labels."""
