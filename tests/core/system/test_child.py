from __future__ import annotations

import os

import pytest
from counter import Counter

from scmrl_plugins.core.system.child import Child
from scmrl_plugins.registry import UserError


def test_an_object_lives_between_calls(capfd: pytest.CaptureFixture[str]) -> None:
    with Child("counter", Counter, 3, environment={"SCMRL_TEST_CHILD": "set"}) as child:
        assert child.call("add") == 4
        assert child.call("add", n=5) == 9
        assert child.call("variable", "SCMRL_TEST_CHILD") == "set"
        with pytest.raises(UserError, match=r"^not so$"):
            child.call("refuse")
        assert child.call("add") == 10
    assert not child.process.is_alive()
    assert "SCMRL_TEST_CHILD" not in os.environ
    assert capfd.readouterr() == ("", "")


def test_an_error_of_the_factory_is_the_callers() -> None:
    with Child("counter", Counter, -1) as child, pytest.raises(UserError, match="starts at 0"):
        child.call("add")


@pytest.mark.slow
def test_a_process_that_ends_is_one_line() -> None:
    with (
        Child("counter", Counter, 0) as child,
        pytest.raises(UserError, match=r"^the process of counter ended with code 1: RuntimeError: out of luck$"),
    ):
        child.call("fail")
    with (
        Child("counter", Counter, 0) as child,
        pytest.raises(UserError, match=r"^the process of counter was ended by SIGKILL: it printed nothing$"),
    ):
        child.call("die")
    with (
        Child("counter", Counter, 0) as child,
        pytest.raises(UserError, match="AttributeError: 'Counter' object has no attribute 'nothing'"),
    ):
        child.call("nothing")
