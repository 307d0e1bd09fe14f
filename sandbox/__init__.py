"""A legacy estate on one machine: a SOAP ERP, a REST OMS and tills that drop files, breakable on purpose."""
