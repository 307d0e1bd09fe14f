"""How Redis and Valkey are spoken: quotas that several processes count together, decided by one script."""
