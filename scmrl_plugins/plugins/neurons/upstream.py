"""BrainCog's node and surrogate modules, without the rest of ``braincog.base``.

Importing ``braincog.base`` imports every subpackage, which takes ten seconds and overwrites timm's resnet entries.
The two modules depend only on torch.
"""

from __future__ import annotations

from scmrl_plugins.core.system.private import import_submodules

surrogate, node = import_submodules("braincog.base", "strategy.surrogate", "node.node")
