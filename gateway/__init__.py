"""The door and the conductor: edge, API, use cases, command line, and the one place that builds the product."""
