"""Every way in which a plugin has been bad, each a distribution on disk, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from plugin_site import PluginSite

HOOK = """
from scmrl_plugins import hookimpl

@hookimpl
def scmrl_register(register):
    register("fusion", "{name}", "{target}", "a fusion")
"""
FUSION = """
from scmrl_plugins.core.interfaces import ComponentConfig, Fused
from torch import nn

class Fusion(nn.Module):
    class Config(ComponentConfig):
        pass
    def __init__(self, config, context):
        super().__init__()
    def forward(self, audio, visual):
        return Fused(audio, visual)
"""


@dataclass(frozen=True)
class Bad:
    """A bad plugin: its hook's module and its model's; words of what is said of it."""

    hook: str
    model: str = FUSION
    listed: tuple[str, ...] = ()
    """In ``scmrl plugins``; nothing where only use shows the fault."""
    strict: tuple[str, ...] = ()
    """In ``scmrl plugins --strict`` beside that."""
    build: tuple[str, ...] = ()
    """In the one line that ``scmrl build`` of it ends with; nothing where it builds."""
    component: str = ""
    """What to build, if its name is not the plugin's."""
    points: dict[str, str] = field(default_factory=dict)
    """Its entry points, if they are not one of its name to its module."""


def hook(extra: str = "", *, name: str = "NAME", target: str = "MODEL:Fusion", before: str = "") -> str:
    """A module with a good hook, something before it, and something in it."""
    return before + HOOK.format(name=name, target=target) + (f"    {extra}\n" if extra else "")


BAD = {
    "import-error": Bad(
        "import a_module_that_is_not_there",
        listed=("ModuleNotFoundError", "a_module_that_is_not_there"),
        build=("unknown fusion", "a_module_that_is_not_there"),
    ),
    "syntax-error": Bad("def broken(:", listed=("SyntaxError",), build=("unknown fusion", "SyntaxError")),
    "exits": Bad("import sys\nsys.exit(0)", listed=("SystemExit: 0",), build=("unknown fusion", "SystemExit")),
    "hook-raises": Bad(
        hook("1 / 0"), listed=("ZeroDivisionError",), build=("unknown fusion", "ZeroDivisionError")
    ),
    "misspelt-hook": Bad(
        hook().replace("def scmrl_register", "def scmrl_registr"),
        listed=("scmrl_registr",),
        build=("unknown fusion", "scmrl_registr"),
    ),
    "extra-argument": Bad(
        hook().replace("(register)", "(register, extra)"), listed=("extra",), build=("unknown fusion", "extra")
    ),
    "wrong-kind": Bad(
        hook('register("fuson", "b", "m:C", "s")'),
        listed=("unknown kind (did you mean 'fusion'?)",),
        build=("unknown fusion", "did you mean 'fusion'?"),
    ),
    "duplicate": Bad(
        hook(name="good"),
        listed=("fusion 'good'", "also the name of plugin", "write"),
        build=("is ambiguous", "'good:good'", "'duplicate:good'"),
        component="good",
    ),
    "shadow": Bad(
        hook(name="cmrl"),
        listed=("fusion 'cmrl'", "also the name of the built-in", "write 'shadow:cmrl'"),
        component="shadow:cmrl",
    ),
    "no-target": Bad(
        hook(target="MODEL:Fuson"),
        listed=("fusion 'no-target' is not there", "has no 'Fuson'"),
        strict=("cannot be loaded", "AttributeError"),
        build=("cannot be loaded", "AttributeError", "Fuson"),
    ),
    "no-config": Bad(
        hook(),
        "class Fusion:\n    pass\n",
        strict=("is not a class with a Config",),
        build=("is not a class with a Config",),
    ),
    "config-raises": Bad(
        hook(),
        FUSION.replace(
            "        pass\n", "        def __init__(self, **data): raise OverflowError('far too much')\n"
        ),
        strict=("OverflowError", "far too much"),
        build=("failed in", "OverflowError: far too much"),
    ),
    "wrong-shape": Bad(
        hook(),
        FUSION.replace("Fused(audio, visual)", "Fused(audio.mean(3), visual)"),
        strict=("returned as audio", "expected"),
        build=("returned as audio [", ", N]"),
    ),
    "prints": Bad(
        hook(before="print('hello')\nimport os\nos.write(1, b'hidden')\n"), listed=("prints", "'hello'")
    ),
    "torch-importer": Bad(hook(before="import torch\n"), listed=("imports torch when it registers",)),
    "second-of-a-name": Bad(
        hook(name="second"),
        listed=("the plugin name 'good' is taken by scmrl-good",),
        build=("unknown fusion 'second'", "plugins with problems"),
        component="second",
        points={"good": "scmrl_second_of_a_name"},
    ),
    "missing-module": Bad(
        "",
        listed=("ModuleNotFoundError", "scmrl_never_written"),
        build=("unknown fusion", "scmrl_never_written"),
        points={"missing-module": "scmrl_never_written"},
    ),
    "from-the-future": Bad(
        hook(before="scmrl_interface = 99\n"),
        listed=("was written for interface 99", "pip install -U scmrl-plugins"),
        build=("unknown fusion", "was written for interface 99"),
    ),
}


def install(site: PluginSite) -> None:
    """All of them, and a good one beside them."""
    good = {"scmrl_good": hook(name="good", target="scmrl_good_model:Fusion"), "scmrl_good_model": FUSION}
    site.add("scmrl-good", {"good": "scmrl_good"}, **good)
    for name, bad in BAD.items():
        module = f"scmrl_{name.replace('-', '_')}"
        source = bad.hook.replace("NAME", name).replace("MODEL", f"{module}_model")
        site.add(f"scmrl-z-{name}", bad.points or {name: module}, **{module: source, f"{module}_model": bad.model})
