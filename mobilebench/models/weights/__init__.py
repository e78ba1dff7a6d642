"""Pretrained weights: where they lie, how they get there, and how a network starts from them."""
