"""From a dataset's official source to files on this disk: download, unpack, list."""
