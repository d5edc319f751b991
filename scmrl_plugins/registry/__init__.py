"""What plugins register and how it is found again: pure Python and pluggy, no torch."""

from scmrl_plugins.registry.catalogue import Broken, Catalogue, Entry, Plugin
from scmrl_plugins.registry.discovery import catalogue, discover
from scmrl_plugins.registry.errors import UserError
from scmrl_plugins.registry.hookspecs import GROUP, KINDS, hookimpl

__all__ = [
    "GROUP",
    "KINDS",
    "Broken",
    "Catalogue",
    "Entry",
    "Plugin",
    "UserError",
    "catalogue",
    "discover",
    "hookimpl",
]
