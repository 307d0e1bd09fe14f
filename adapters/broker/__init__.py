"""How RabbitMQ is spoken: confirmed publishing of events, consumers with dead letters, connections that come back."""
