"""How long a web process waits for its two Redis.

A request for which both are silent, one after the other, is still answered within two seconds.
"""

STATE_LIMIT_S = 1.2
"""The state Redis; then the request is answered 503."""
CACHE_LIMIT_S = 0.4
"""The cache Redis; then the request is answered without the cache."""
