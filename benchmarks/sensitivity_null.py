"""How often a probe of equal settings claims a better one: the false-positive rate of "beyond noise".

All settings are equal in truth (top-1 0.7), every accuracy has training noise and the sampling of 10,000 validation
images. Prints the share of probes whose best setting passes the bar, by settings, seeds and training noise.

    python -m benchmarks.sensitivity_null [--probes 4000]
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np

from mobilebench.sensitivity.analysis import deviation, noise_gain

N_VAL = 10_000


def rate(settings: int, seeds: int, sd: float, probes: int, *, shared: float = 0.0) -> float:
    """Return the share of probes with a gain beyond noise; `sd` and `shared` are fractions.

    `sd` is what a seed changes in one setting, `shared` what it changes in all settings alike.
    """
    rng = np.random.default_rng(1000 * settings + seeds)
    noise = rng.normal(0, sd, (probes, settings, seeds)) + rng.normal(0, shared, (probes, 1, seeds))
    tables = rng.binomial(N_VAL, np.clip(0.7 + noise, 0, 1)) / N_VAL
    found = 0
    for table in tables:
        means = table.mean(axis=1)
        found += means.max() - means[0] > noise_gain(settings, *deviation(table, N_VAL, 0))[1]
    return found / probes


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probes", type=int, default=4000)
    probes = parser.parse_args().probes
    print(f"share of {probes} probes of equal settings with a gain beyond noise; one seed is never said to be")
    for settings, seeds in itertools.product((5, 20), (2, 3, 5)):
        rates = (f"sd {100 * sd:g}: {rate(settings, seeds, sd, probes):.3f}" for sd in (0.0, 0.005, 0.01))
        both = f"sd 0.5 and 1 shared: {rate(settings, seeds, 0.005, probes, shared=0.01):.3f}"
        print(f"{settings:2} settings, {seeds} seeds: " + "  ".join([*rates, both]), flush=True)


if __name__ == "__main__":
    main()
