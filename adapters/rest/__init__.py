"""How REST is spoken: operations from OpenAPI documents, credentials, paging, conditional requests, error bodies. Systems are data."""
