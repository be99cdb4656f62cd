"""The load balancer's listeners and its hot path."""
