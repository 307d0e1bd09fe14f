"""How SOAP is spoken: contracts from WSDL files, envelopes, faults, session logins. Systems are data."""
