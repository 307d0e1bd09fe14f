"""What is promised, to channels and by systems: types, errors, ports and API versions. Nothing here does I/O."""
