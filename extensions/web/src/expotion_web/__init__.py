"""What pages on this machine stand on: who may ask, limits, media, certificates, jobs with progress."""
