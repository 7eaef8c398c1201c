"""What this repository is: delivery.toml, its files, git, gitflow, versions and content keys."""
