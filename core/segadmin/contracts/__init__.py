"""What plugins implement, the hooks by which they are found, and the registry that finds them."""
