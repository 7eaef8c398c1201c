"""The menu: each module is a namespace of Invoke tasks that parses, calls a step and prints."""
