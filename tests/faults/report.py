"""A pytest plugin that ends ``make faults`` with a table: how often each fault was survived, and what chaos cost."""

from __future__ import annotations

from collections import Counter

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the table after pytest's own summary."""
    passed, failed, chaos_lines = Counter[str](), Counter[str](), []
    for outcome, counts in (("passed", passed), ("failed", failed), ("error", failed)):
        for report in terminalreporter.stats.get(outcome, []):
            if getattr(report, "when", "call") == "call" or outcome == "error":
                file, _, test = report.nodeid.partition("::")
                counts[f"{file.rpartition('/')[2]:<26} {test.partition('[')[0]}"] += 1
                chaos_lines += [line for line in report.capstdout.splitlines() if line.startswith("chaos")]
    write = terminalreporter.write_line
    terminalreporter.section("faults")
    for name in sorted(passed.keys() | failed.keys()):
        write(f"{name:<92} {passed[name]:>4} passed {failed[name] or '':>4}{' FAILED' if failed[name] else ''}")
    for line in sorted(chaos_lines):
        write(line)
    write(f"{passed.total()} passed, {failed.total()} failed")
