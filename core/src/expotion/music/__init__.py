"""From controls and a prompt to codes, and from codes to sound."""
