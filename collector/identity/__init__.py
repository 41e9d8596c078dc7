"""Who is who: principals, cluster names, addresses, Kubernetes metadata."""
