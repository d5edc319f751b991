"""Files, memory, devices, signals, progress: what depends on the machine."""
