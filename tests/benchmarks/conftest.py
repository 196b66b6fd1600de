from __future__ import annotations

import sys
from pathlib import Path

# As a script of that folder has it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
