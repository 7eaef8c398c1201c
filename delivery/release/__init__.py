"""A release: published completely or not at all, with SBOMs and signatures."""
