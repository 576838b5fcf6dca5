"""`expotion studio`: music from your own movement in one page of the browser."""
