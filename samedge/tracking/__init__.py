"""Following objects through a video: a state that is a value, and strategies, one file each."""
