"""The SOAP ERP: its contract, its books, what its operations do, and its port."""
