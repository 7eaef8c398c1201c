"""Plans, builds, publishes and deploys; docs/ARCHITECTURE.md describes the packages."""
