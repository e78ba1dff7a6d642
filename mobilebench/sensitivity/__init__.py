"""How sensitive is the fixed protocol? Probes of its settings, chosen on validation images cut out of train.

space: which settings, which values; valcut: the validation images; study: Optuna's database, the only importer of it;
worker: one trial; probe: trials, workers and tracking joined; analysis: regret, slices and rankings, pure numpy.
"""
