"""How events are told to receivers over HTTP: Standard Webhooks, to addresses that were looked at."""
