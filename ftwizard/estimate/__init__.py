"""What a plan needs: time, disk. Figures with their sources; pure functions of what was counted."""
