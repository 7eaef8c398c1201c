"""The tasks of `./run inv`: each reads its flags, calls a function and prints the result."""
