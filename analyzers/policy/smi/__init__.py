"""The Service Mesh Interface's access policies, as Open Service Mesh enforces them."""
