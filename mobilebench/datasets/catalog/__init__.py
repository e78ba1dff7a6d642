"""The packaged datasets, one short module each."""
