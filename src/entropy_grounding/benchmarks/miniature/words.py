"""Colors and letters of the miniatures."""

# Names as the questions use them, with their (red, green, blue) values from 0 to 255.
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (215, 40, 40),
    "orange": (245, 140, 20),
    "yellow": (240, 225, 50),
    "green": (40, 160, 70),
    "cyan": (70, 210, 220),
    "blue": (45, 80, 215),
    "purple": (135, 55, 190),
    "pink": (250, 135, 195),
}

# Colors of cards that no question asks about.
MUTED: dict[str, tuple[int, int, int]] = {
    "black": (35, 35, 35),
    "gray": (110, 110, 110),
    "silver": (165, 165, 165),
    "white": (225, 225, 225),
}
READABLE = tuple("ABCDEHKMTX")  # letters on the cards of the scenes
