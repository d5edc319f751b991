"""``scmrl examples``: every configuration that is installed, by the name that ``-c`` takes."""

from __future__ import annotations

from cli_runs import invoke

from scmrl_plugins.core.config import examples


def test_every_example_is_listed() -> None:
    done = invoke("examples")
    assert (done.code, done.err) == (0, "")
    assert all(f"scmrl:{name}" in done.out for name in examples.listed())


def test_one_is_printed_as_it_is() -> None:
    path = examples.listed()["small_cpu"]
    for name in ("small_cpu", "scmrl:small_cpu"):
        assert invoke("examples", name).out == path.read_text(encoding="utf-8")
