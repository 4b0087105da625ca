"""routing.yaml: read, checked with every fault at its line and column, compiled to a snapshot, edited in place, watched."""
