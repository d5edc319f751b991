"""What a report says first: a sentence for each thing that the reader should know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from scmrl_plugins.core.config.sections import PROTOCOLS
from scmrl_plugins.core.evaluation.contribution import crosses, warning
from scmrl_plugins.core.evaluation.modalities import Carried
from scmrl_plugins.core.measure.firing import unhealthy
from scmrl_plugins.explain.facts import Facts

Weight = Literal["bad", "warn", "good", "note"]
LABELS: dict[Weight, str] = {"bad": "Problem", "warn": "Look at this", "good": "Good", "note": "Note"}
"""The word in front of a sentence, so that colour alone says nothing."""


@dataclass(frozen=True)
class Finding:
    """A sentence, how much it weighs, and the section that shows it."""

    weight: Weight
    text: str
    section: str = ""

    @property
    def label(self) -> str:
        return LABELS[self.weight]


def findings(facts: Facts) -> list[Finding]:
    """Problems first."""
    order: list[Weight] = ["bad", "warn", "good", "note"]
    found = [*_fusion(facts), *_carried(facts), *_layers(facts), *_data(facts)]
    return sorted(found, key=lambda one: order.index(one.weight))


def headline(facts: Facts) -> str:
    """The accuracy, and what it means."""
    test = facts.test
    meaning = f"{test['protocol']} protocol: {PROTOCOLS[test['protocol']]}"
    return (
        f"Test accuracy {test['accuracy']:.2%} of {test['n']} samples, weights of epoch {test['best_epoch']} "
        f"({meaning})."
    )


def interval(facts: Facts) -> str:
    """The interval of the accuracy; empty where there is none."""
    limits = facts.test.get("interval")
    return f"95 % interval {limits[0]:.2%} to {limits[1]:.2%} ({facts.test['interval_method']})" if limits else ""


def _fusion(facts: Facts) -> Iterator[Finding]:
    """Whether anything crosses between the modalities."""
    directions, fusion = facts.contribution, facts.config.fusion.name
    if directions is None:
        return
    if not directions:
        yield Finding("note", f"Fusion {fusion} uses one modality.", "carries")
    elif any(map(crosses, directions.values())):
        rates = ", ".join(
            f"{name.replace('_', ' ')} in {figures['rate']:.1%} of its elements"
            for name, figures in directions.items()
            if crosses(figures)
        )
        yield Finding("good", f"The fusion is live: something crosses {rates}.", "carries")
    else:
        model: Any = facts.run.assemble().model
        line = warning(model, dict(directions)) or ""
        if model.fusion.interacts:
            yield Finding("bad", f"The fusion is dead: {line}.", "carries")
        else:
            yield Finding("note", f"{line[:1].upper()}{line[1:]}.", "carries")


def _carried(facts: Facts) -> Iterator[Finding]:
    """Which modality carries the accuracy, and whether one alone does better."""
    carried: Carried | None = facts.measured.carried if facts.measured else None
    if carried is None or len(carried.modalities) < 2:
        return
    n = len(carried.complete)
    gain = 100 * (carried.accuracy(*carried.modalities) - carried.baseline)
    shares = ", ".join(f"{name} {100 * share:.1f}" for name, share in carried.shares.items())
    yield Finding(
        "note", f"Of {gain:.1f} points above chance, by Shapley shares: {shares} ({n} samples).", "carries"
    )
    best = max(carried.modalities, key=carried.accuracy)
    if carried.accuracy(best) > carried.accuracy(*carried.modalities):
        yield Finding(
            "warn",
            f"{best.capitalize()} alone is more accurate ({carried.accuracy(best):.1%}) than both together "
            f"({carried.accuracy(*carried.modalities):.1%}).",
            "carries",
        )


def _layers(facts: Facts) -> Iterator[Finding]:
    """Layers that pass next to nothing on."""
    rates = facts.test["firing_rates"]
    found = unhealthy(rates, facts.tags)
    for state, text in (("dead", "hardly ever fire"), ("saturated", "nearly always fire")):
        if layers := [one for one in found if one.state == state]:
            names = ", ".join(one.layer for one in layers[:2]) + " and others" * (len(layers) > 2)
            yield Finding("warn", f"{len(layers)} of {len(rates)} neuron layers {text}: {names}.", "layers")
    if not found:
        yield Finding("good", f"All {len(rates)} neuron layers fire at usable rates.", "layers")


def _data(facts: Facts) -> Iterator[Finding]:
    test = facts.test
    if facts.unmeasured:
        yield Finding("warn", facts.unmeasured, "left-out")
    if test["protocol"] == "published":
        yield Finding("warn", "The epoch was chosen on the test split itself, so the accuracy is optimistic.")
    if skipped := test.get("skipped", 0):
        yield Finding("warn", f"{skipped} bad files were left out; skipped.json lists them.")
