"""What ``scmrl data show`` draws of arrays: events by their colours, time steps, samples of every class."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from scmrl_plugins.core.data import picture
from scmrl_plugins.core.data.picture import Example, figure


def test_events_of_two_kinds_are_red_and_blue_on_white() -> None:
    events = np.zeros((2, 1, 4), np.float32)
    events[0, 0, 0] = events[1, 0, 1] = 3
    events[0, 0, 2] = 1
    first, second, fewer, none = picture.colours_of(events, 0.0, 3.0)[0]
    assert first == pytest.approx(picture.RED)
    assert second == pytest.approx(picture.BLUE)
    assert (fewer > first).all()
    assert none == pytest.approx(1.0)


@pytest.mark.parametrize(("channels", "value"), [(1, 0.5), (3, 0.5), (5, 2.0)])
def test_constant_and_odd_inputs_are_pictures_too(channels: int, value: float) -> None:
    shown = picture.colours_of(np.full((channels, 3, 4), value, np.float32), value, value)
    assert shown.shape == (3, 4, 3)
    assert ((shown >= 0) & (shown <= 1)).all()


def test_steps_are_spread_over_the_sequence() -> None:
    steps = picture.spread_steps(np.arange(16.0).reshape(16, 1, 1, 1))
    assert [float(step[0, 0, 0]) for step in steps] == [2, 6, 10, 14]
    assert len(picture.spread_steps(np.zeros((3, 1, 1, 1)))) == 3
    assert len(picture.spread_steps(np.zeros((1, 8, 8)))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("spectrograms", "origin"), [(True, "lower"), (False, "upper")])
@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 1, 8, 8)])
def test_low_frequencies_are_drawn_below(shape: tuple[int, ...], spectrograms: bool, origin: str) -> None:
    inputs = {"audio": np.random.default_rng(0).random(shape), "visual": np.zeros((3, 8, 8))}
    drawn = figure("a title", ["a"], [Example(0, "x", inputs, inputs)], {}, spectrograms)
    found = [axes.images[0].origin for axes in drawn.findobj(Axes) if axes.images]
    assert sorted(found) == sorted([origin, origin, "upper", "upper"])


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [2, picture.NAMED + 160])
def test_no_text_of_the_picture_lies_over_other_text(kinds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    names = [f"Κλάση {n} with $ome _long_ name" for n in range(kinds)]
    inputs = {"audio": rng.random((1, 8, 8)), "visual": rng.random((16, 2, 8, 8))}
    examples = [Example(n % kinds, f"speaker_{n}/recording-{n:08d}", inputs, inputs) for n in range(5)]
    counts = {split: rng.integers(1, 50, kinds) for split in ("train", "validation", "test")}
    drawn = figure("a title", names, examples, counts)
    boxes: dict[str, Bbox] = {}
    draw = Text.draw

    def note(text: Text, renderer: RendererBase) -> None:
        if text.get_visible() and text.get_text():
            boxes[f"{text.get_text()} at {text.get_position()}"] = text.get_window_extent(renderer)
        draw(text, renderer)

    monkeypatch.setattr(Text, "draw", note)
    drawn.canvas.draw()
    assert len(boxes) > 15
    width, height = drawn.canvas.get_width_height()
    page = Bbox([[-1, -1], [width + 1, height + 1]])
    for name, box in boxes.items():
        assert page.contains(*box.min), name
        assert page.contains(*box.max), name
        assert [other for other in boxes if other != name and box.overlaps(boxes[other])] == [], name


def test_what_no_font_has_is_written_by_its_number() -> None:
    private = chr(0x10FFFD)
    _, absent = picture.fonts_for(f"a{private}")
    assert absent == {0x10FFFD}
    assert picture.printable(f"a{private}$", absent) == "a\\U0010fffd\\$"
    assert len(picture.printable("x" * 99, absent)) < 30
