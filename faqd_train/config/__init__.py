"""The settings of a run: their schema, and the files they are read from."""
