"""The networks that neither timm nor torchvision has."""
