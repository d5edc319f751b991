"""The model and how a configuration becomes one."""
