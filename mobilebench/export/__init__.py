"""A finished run's network as files that other programs read: ONNX, quantised or not, and weights with their card."""
