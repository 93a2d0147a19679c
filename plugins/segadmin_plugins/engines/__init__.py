"""Engines: the runtimes that compute the logits of user texts."""
