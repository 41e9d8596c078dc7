"""What leaves the system over HTTP: routes, webhooks, evidence."""
