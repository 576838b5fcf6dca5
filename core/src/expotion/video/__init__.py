"""Files in and out: probing, frames by time, sound, clips, writing and muxing. Import the sub-modules."""
