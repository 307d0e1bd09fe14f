"""How protocols are spoken: drivers, the guard around them, and the switchboard that answers capabilities with them."""
