"""From a declaration and facts to a plan, a release and a running platform; docs/ARCHITECTURE.md has the packages."""
