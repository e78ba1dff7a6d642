"""Does progress on ImageNet transfer to real-world datasets? (2023): what it prints, and its claims."""
