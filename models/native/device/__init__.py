"""What of a device the engine sees: lanes of work, graphs of it, and copies between it and here."""
