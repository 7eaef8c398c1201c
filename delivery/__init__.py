"""The engine room: from a declaration and facts to a plan, a release and a running platform.

Four floors, and an import may only go down: tasks (the menu) → steps (carry a decision out) → tools (one boundary a file)
→ core (decides, touches nothing). docs/ARCHITECTURE.md draws the house.
"""
