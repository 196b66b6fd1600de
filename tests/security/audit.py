"""`make audit`: asks PyPI's advisory database about what constraints.txt pins, by pip-audit.

pip-audit itself answers "No known vulnerabilities found" where the database knows none of the
packages, as an index of one's own does; here a package that was not looked up is not audited.
Exit status: 0 audited and clean, or not audited, which is said; 1 a known hole.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parents[2] / "constraints.txt"


def told(found: dict[str, list[dict[str, object]]]) -> tuple[int, list[str]]:
    """Return the exit status and the lines for what pip-audit's JSON says."""
    packages = found.get("dependencies", [])
    skipped = [one for one in packages if "skip_reason" in one]
    holes = [
        f"{one['name']} {one['version']}: {hole['id']}, mended in {hole['fix_versions'] or '–'}"
        for one in packages
        for hole in one.get("vulns") or []  # type: ignore[attr-defined]
    ]
    lines = [f"audited: {len(packages) - len(skipped)} of {len(packages)} packages", *holes]
    if skipped or not packages:
        lines.append("NOT AUDITED is the rest: the advisory database was not reached or has none")
    return (1 if holes else 0), lines


def main() -> int:
    """Run pip-audit, which is in the Python that runs this."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip_audit", "--requirement", str(PINS), "--no-deps"),
            *("--disable-pip", "--progress-spinner", "off", "--format", "json"),
        ],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    try:
        found = json.loads(done.stdout)
    except ValueError:
        sys.stdout.write(f"NOT AUDITED: {done.stderr.strip().splitlines()[-1:]}\n")
        return 0
    status, lines = told(found)
    sys.stdout.write("\n".join(lines) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
