"""What this machine has: a Docker engine, helper programs, the images that others publish."""
