"""What plugins register, and how it is looked up: pure Python and pluggy, without torch."""

from scmrl_plugins.registry.catalogue import Broken, Catalogue, Entry, Plugin
from scmrl_plugins.registry.discovery import catalogue, discover
from scmrl_plugins.registry.errors import UserError
from scmrl_plugins.registry.hookspecs import GROUP, INTERFACE_VERSION, hookimpl
from scmrl_plugins.registry.inline import register_file, register_inline
from scmrl_plugins.registry.kinds import KINDS

__all__ = [
    "GROUP",
    "INTERFACE_VERSION",
    "KINDS",
    "Broken",
    "Catalogue",
    "Entry",
    "Plugin",
    "UserError",
    "catalogue",
    "discover",
    "hookimpl",
    "register_file",
    "register_inline",
]
