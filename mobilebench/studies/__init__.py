"""The published studies, each with its tables, its claims and what recomputing them finds."""
