"""One module per file format. Each opens a file into a ``Store``: its tree of names, without a tensor read."""
