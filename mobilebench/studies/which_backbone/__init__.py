"""Which Backbone to Use (arXiv 2406.05612): published tables, claims, audit."""
