"""What recurs: from finished runs to feature vectors, clusters, identities, and ``DiscoveredPattern`` objects.

Everything here is pure but for ``publish``, which writes through a Protocol. The way of the data:
``terms`` → ``table`` → ``features`` → ``clustering`` → ``identity`` → ``discovery`` → ``publish``.
"""
