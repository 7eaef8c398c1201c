"""What should not be there: secrets, and packages that are out of date."""
