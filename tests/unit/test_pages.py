"""What a run writes on its pages about itself."""

from __future__ import annotations

import sys

import pytest

from rlaif.pipeline.pages import typed_command


def test_the_command_can_be_pasted_into_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["/usr/bin/rlaif-run", "policy.watch.judge=${evaluation.judge}", "data.path='my pairs.jsonl'", "seed=1"]
    monkeypatch.setattr(sys, "argv", words)
    assert typed_command() == (
        "rlaif-run 'policy.watch.judge=${evaluation.judge}' 'data.path='\"'\"'my pairs.jsonl'\"'\"'' seed=1"
    )
