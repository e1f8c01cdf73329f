"""Networks for those who use them: in Python, and behind the commands."""
