"""The results store and the leaderboard."""
