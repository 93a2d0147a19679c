"""The calls of the HTTP API: what each sends and what it returns, for both clients."""
