"""The machine and its files: layout, durable writes, disks, signals, processors, energy, provenance."""
