"""The objects of the HTTP API: what the server answers with, and what the client reads."""
