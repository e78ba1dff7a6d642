"""Beyond ImageNet (Zhang, Ding, Liu 2025): published tables, claims, audit."""
