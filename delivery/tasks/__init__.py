"""The menu: each module is a namespace of Invoke tasks that parses, calls one function, and prints."""
