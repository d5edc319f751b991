"""The smallest comparison of ``scmrl bench speed``."""

from __future__ import annotations

from scmrl_plugins.bench.speed.settings import Settings

TINY = Settings(batch=2, image_size=16, steps=2, dims=16, heads=2, threads=1, repeats=2, kernel_shape=(2, 1, 3))
