"""The cases for systems that are called, by what is done to them; the catalogue lists them."""
