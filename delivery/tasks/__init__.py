"""The tasks of `./run inv`: each reads its flags, calls one function and prints the result."""
