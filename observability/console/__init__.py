"""Pages for people who run the gateway: plain data in, HTML out; their routes are the gateway's."""
