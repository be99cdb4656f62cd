"""The load balancer beside the proxies that other platforms embed, over one and the same upstream."""
