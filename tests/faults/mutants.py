"""Take one safeguard out at a time and see that a test of ``tests/faults`` notices.

Each mutant is a copy of the tree with one change; a mutant that no test kills is a safeguard that nothing proves.
Last line: JSON.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutant:
    """One safeguard taken out, and the tests that should see it."""

    name: str
    file: str
    before: str
    after: str
    tests: str  #: pytest's ``-k``


MUTANTS = (
    Mutant(
        "the fence is gone",
        "core/segadmin/jobs/lease.py",
        "        col(Step.token) == attempt.token,\n        col(Step.state) == StepState.RUNNING,\n",
        "",
        "comes_back and sqlite",
    ),
    Mutant(
        "a job's key is not unique",
        "core/segadmin/storage/records/jobs.py",
        "    idempotency_key: str | None = Field(default=None, unique=True)\n",
        "    idempotency_key: str | None = Field(default=None)\n",
        "same_key_at_once",
    ),
    Mutant(
        "nobody reaps",
        "core/segadmin/jobs/reap.py",
        '    lost = [_lost(settings, step_id or 0, token, "the lease of a step expired") '
        "for step_id, token in expired]\n",
        "    expired, lost = [], []\n",
        "crashes_every_time and sqlite",
    ),
    Mutant(
        "a file is named before it is on disk",
        "core/segadmin/files.py",
        "    sync(draft)\n    draft.rename(path)\n",
        "    draft.rename(path)\n    sync(path)\n",
        "named_before and sqlite",
    ),
    Mutant(
        "any state may be claimed",
        "core/segadmin/jobs/lease.py",
        "and_(col(Step.state) == StepState.RUNNING, has_expired(settings, moment))",
        "and_(col(Step.state) == StepState.RUNNING)",
        "five_times and sqlite",
    ),
    Mutant(
        "the outcome's SQL is a transaction of its own",
        "core/segadmin/jobs/finish.py",
        "        extra = outcome.commit(session) if outcome.commit else {}\n",
        "        extra = outcome.commit(session) if outcome.commit else {}\n"
        "        session.commit()\n        session.begin()\n",
        "killed_process and commit",
    ),
    Mutant(
        "a lock keeps nobody out",
        "core/segadmin/jobs/locks.py",
        "    return holder.job_id == job.id\n",
        "    return True\n",
        "of_the_same and sqlite",
    ),
)


def main() -> int:
    """Run them and return how many survived."""
    survived = []
    with tempfile.TemporaryDirectory(prefix="segadmin-mutants-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".venv", ".git", ".segadmin", ".*_cache", "dist"))
        if _fails(tree, " or ".join(f"({mutant.tests})" for mutant in MUTANTS)):
            raise SystemExit("the tests fail without any mutant")
        for mutant in MUTANTS:
            source = tree / mutant.file
            whole = source.read_text()
            if mutant.before not in whole:
                raise SystemExit(f"{mutant.name}: {mutant.file} has changed; bring the mutant up to date")
            source.write_text(whole.replace(mutant.before, mutant.after, 1))
            killed = _fails(tree, mutant.tests)
            source.write_text(whole)
            print(f"{'killed  ' if killed else 'SURVIVED'}  {mutant.name}", flush=True)
            survived += [] if killed else [mutant.name]
    print(json.dumps({"mutants": len(MUTANTS), "killed": len(MUTANTS) - len(survived), "survived": survived}))
    return len(survived)


def _fails(tree: Path, tests: str) -> bool:
    """Return whether a test fails in ``tree``; tests that cannot even be collected prove nothing."""
    paths = ":".join(str(tree / room) for room in ("core", "plugins", "worker", "api", "."))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "faults", "-p", "no:cacheprovider", "--timeout=100"]
    done = subprocess.run(
        [*command, "-k", tests, "tests/faults/test_matrix.py"],
        cwd=tree,
        env={"PYTHONPATH": paths, "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in {0, 1}:
        raise SystemExit(f"pytest could not run: {done.stdout}{done.stderr}")
    return done.returncode == 1


if __name__ == "__main__":
    sys.exit(main())
