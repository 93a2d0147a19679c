"""Model versions as a page."""

from __future__ import annotations

from collections.abc import Sequence

from segadmin.learn.versions import VersionLine
from segadmin.pages import document, link, table
from segadmin_api.dashboard.frame import NAVIGATION
from segadmin_api.wording import ago


def list_page(versions: Sequence[VersionLine]) -> str:
    """Return the page of ``versions``, in their order; each has its card behind its number."""
    rows = [
        (
            link(f"/models/{line.version.id}", str(line.version.id)) if line.test else str(line.version.id),
            line.version.label_set or "–",
            line.version.state,
            line.name,
            line.version.textualizer,
            f"{line.test['auroc']:.4f}" if line.test.get("auroc") is not None else "–",
            line.best_baseline or "–",
            ago(line.version.created_at),
        )
        for line in versions
    ]
    head = [">version", "labels", "state", "backbone", "text", ">AUROC", ">best baseline", "trained"]
    empty = "<p>No models yet. Train one: <code>segadmin enqueue retrain --wait</code></p>"
    return document("models", [table(head, rows) if rows else empty], above=NAVIGATION)
