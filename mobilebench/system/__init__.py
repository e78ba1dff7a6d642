"""The machine and its files: layout, durable writes, disks, git, signals, processors, energy, provenance."""
