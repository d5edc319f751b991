"""What the components of each kind promise, and what they are called with: one module a kind."""
