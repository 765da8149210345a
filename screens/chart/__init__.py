"""Line charts for the terminal."""
