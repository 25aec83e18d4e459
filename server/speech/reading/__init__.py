"""How numbers, symbols and names are read aloud, by language."""
