"""What an object is like while it is well: its declaration, its health, what differs since. Pure."""
