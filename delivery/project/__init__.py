"""What this repository is: delivery.toml, its files, git, gitflow, versions, changelogs, content keys."""
