"""Real servers for tests, each started when first asked for, on a free loopback port, in its own temporary directory."""
