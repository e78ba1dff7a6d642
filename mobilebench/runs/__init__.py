"""One cell's life on disk: journal, records, states."""
