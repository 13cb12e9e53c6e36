"""Draw the pictures of docs/limits.md: `python -m bench.services docs/limits`. The same every time."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.services.cases import CASES
from bench.services.picture import draw


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        (folder / f"{case.name}.svg").write_text(draw(case, case.play()), encoding="utf-8")
        print(folder / f"{case.name}.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/limits"))
