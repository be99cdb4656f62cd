"""What users and their tools meet: the API, the load balancer, the console."""
