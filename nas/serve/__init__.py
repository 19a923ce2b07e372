"""A page in the browser that labels the pictures dropped onto it."""
