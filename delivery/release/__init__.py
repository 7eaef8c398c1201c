"""A release: published whole or not at all, with bills of materials and signatures."""
