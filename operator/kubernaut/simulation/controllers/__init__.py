"""How Kubernetes' own controllers react to what steps change: the states they come to rest in."""
