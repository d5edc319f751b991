"""Files of sound, pictures and events to arrays, and back."""
