"""The client of the HTTP API: ``segadmin.Client`` and ``segadmin.AsyncClient``."""

from __future__ import annotations

from segadmin_api.client.clients import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]
