"""Long resumable work above one search."""
