"""What analyzers found: one record for each episode, stored so that the same episode found again replaces itself."""
