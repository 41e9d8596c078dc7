"""FILES of the policy commands: what is too much, loops of links, and files that never end."""

from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path

import pytest

from analyzers.policy.errors import BadPolicy
from eastwatch.cli import policy_files
from eastwatch.cli.policy_files import read_contents


def test_files_that_never_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_files, "MAX_BYTES", 1 << 20)
    with pytest.raises(BadPolicy, match=r"^/dev/zero: more than 1 MiB with the files before it, expected less$"):
        read_contents(["/dev/zero"])


def test_all_files_together_are_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(policy_files, "MAX_BYTES", 1 << 20)
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_bytes(b"x" * (1 << 19))
    assert [len(content) for content in read_contents([str(tmp_path)]).values()] == [1 << 19, 1 << 19]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x")))
    with pytest.raises(BadPolicy, match=r"^-: more than 1 MiB"):
        read_contents([str(tmp_path), "-"])


def test_links_that_lead_back_and_pipes_in_directories_are_passed_over(tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    (below / "again").symlink_to("..")
    (tmp_path / "self.yaml").symlink_to("self.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    (below / "a.yaml").write_text("kind: A")
    assert read_contents([str(tmp_path)]) == {str(below / "a.yaml"): b"kind: A"}


def test_a_pipe_that_is_named_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"kind: A"), daemon=True)
    writer.start()
    assert read_contents([str(pipe)]) == {str(pipe): b"kind: A"}
    writer.join(5)
