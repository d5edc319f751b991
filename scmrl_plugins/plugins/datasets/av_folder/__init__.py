"""Audio with images or videos from a user's folders of classes, or from a table."""
