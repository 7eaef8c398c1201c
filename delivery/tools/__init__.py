"""One boundary a file: the only modules that talk to the tool they are named after."""
