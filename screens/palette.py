"""Color palette, safe for color blindness.

Based on Okabe and Ito, "Color Universal Design" (2008); some colors are lightened for a dark
background.
"""

ACCENT = "#56b4e9"
TRAIN = ACCENT
VALIDATION = "#e69f00"
GOOD = "#3fc79a"
WARNING = "#e69f00"
BAD = "#ff8c5a"
TEXT = "#d8dee6"
GROUND = "#0f1318"
RAISED = "#161b22"
LINE = "#242c36"
