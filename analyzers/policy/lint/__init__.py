"""What is wrong, or wider than it looks, in policies as they are written."""
