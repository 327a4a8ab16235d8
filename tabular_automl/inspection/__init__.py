"""Leaderboard, importance, progress: what a person looks at."""
