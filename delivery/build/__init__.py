"""The plan, and the images that it builds."""
