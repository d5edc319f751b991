from __future__ import annotations

from scmrl_plugins.sweep import run


def test_why_a_process_ended_is_one_line() -> None:
    from ray import exceptions

    assert run.cause(exceptions.ActorDiedError(), 2).startswith("its process was killed, 3 times: is there")
    assert run.cause(exceptions.OutOfMemoryError("node"), 0).startswith("its process was stopped because the")
    error = exceptions.RayTaskError("f", "Traceback:\n  File\nModuleNotFoundError: No module named 'x'", None)
    assert run.cause(error, 0) == "its process could not run: ModuleNotFoundError: No module named 'x'"
