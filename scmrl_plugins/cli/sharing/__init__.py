"""Commands that give models to others, and take them."""
