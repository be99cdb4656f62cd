"""What an account has beside services: auto scaling configurations, connections and the like."""
