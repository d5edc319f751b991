"""The voices of ``av-digits``: eSpeak NG's accents and variants, divided among the splits."""

from __future__ import annotations

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATES = tuple(range(120, 221, 10))
"""Words a minute."""
PITCHES = tuple(range(30, 71, 5))
"""On eSpeak NG's scale from 0 to 99."""

ACCENTS = {
    "train": ("en", "en-us", "en-029", "en-gb-x-rp", "en-gb-x-gbclan"),
    "validation": ("en-gb-x-gbcwmd",),
    "test": ("en-gb-scotland", "en-us-nyc"),
}

# Variants whose definitions share a third of their lines or more are relatives and stay in one split. Left
# out are whispers, robots, the Klatt synthesiser and other effects, and names with a space.
_TRAIN = """
    Alex Andrea Andy Denis Diogo Henrique Hugo Jacky Lee Marco Mike Nguyen Reed RicishayMax RicishayMax2
    RicishayMax3 adam anika announcer antonio aunty belinda benjamin boris caleb ed f2 f4 f5 grandma grandpa
    john kaukovalta linda m1 m2 m4 m6 m8 max michel miguel mike2 norbert pablo pedro rob robert travis victor
    zac
"""
_VALIDATION = "Alicia Gene Gene2 Mario Michael f1 gustave m5 paul quincy"
_TEST = """
    Annie david edward edward2 f3 ian iven iven2 iven3 iven4 m3 m7 marcelo sandro shelby steph steph2 steph3
"""
VARIANTS = {
    "train": tuple(_TRAIN.split()),
    "validation": tuple(_VALIDATION.split()),
    "test": tuple(_TEST.split()),
}

VOICES = {
    split: tuple(f"{accent}+{variant}" for accent in accents for variant in VARIANTS[split])
    for split, accents in ACCENTS.items()
}
"""For each split its voices as eSpeak NG names them."""
