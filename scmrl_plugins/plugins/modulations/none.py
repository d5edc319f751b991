"""No modulation."""

from __future__ import annotations

from typing import ClassVar

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Modulation


class Unmodulated(Modulation):
    """Training as it is: the gradient of the configured losses."""

    acts: ClassVar[bool] = False

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
