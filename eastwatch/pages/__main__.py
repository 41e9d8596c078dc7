"""`python -m eastwatch.pages [DIRECTORY]`: write the generated parts of every page under DIRECTORY (default: docs)."""

from __future__ import annotations

import sys
from pathlib import Path

from eastwatch.pages import refreshed


def main(directory: Path) -> None:
    """Rewrite the pages whose generated parts have changed, and name them."""
    for path in sorted(directory.rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = refreshed(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
