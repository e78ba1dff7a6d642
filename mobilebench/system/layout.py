"""Where a project folder keeps things, relative to the folder of params.yaml and dvc.yaml."""

from pathlib import Path

RAW = Path("data/raw")
PACKED = Path("data/packed")
SOURCES_LOCK = Path("sources.lock")
RESULTS = Path("results")
STATE = Path(".mobilebench/cells")
NETWORKS = Path(".mobilebench/networks")
WEIGHTS = Path(".mobilebench/weights")  # digests of pretrained weights, which lie elsewhere
DIGESTS = Path(".mobilebench/digests")
DEVICE_RESULTS = Path("device_results.csv")
INPUTS = RESULTS / "inputs"
ARTIFACTS = Path("mlartifacts")
FETCHED = Path(".mobilebench/predictions")  # of runs that were trained elsewhere, by their digests
