"""Services of the operating system: files, memory, devices, signals, child processes, progress."""
