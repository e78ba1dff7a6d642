"""From image files to packed arrays, and the packed arrays read back."""
