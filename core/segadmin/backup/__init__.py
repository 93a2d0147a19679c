"""Backups: the database, the store and the secret in one file, and how they are restored."""
