"""Anybody's sounds and pictures: folders of classes, or a table that lists them."""
