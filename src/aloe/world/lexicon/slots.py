"""How each kind of fact is written in profiles, said, hinted at, told of others, used in advice and asked for.

Data only. Within a slot every template has fixed words of its own, and none holds a value's or a cue's word, so
that a reader may go from words to facts and back. ``{her}`` is always possessive ("her work", "his work").
The order is the order of importance: a narrow world keeps the first slots.
"""

from __future__ import annotations

from aloe.world.lexicon import slots_a as a
from aloe.world.lexicon import slots_b as b
from aloe.world.lexicon.schema import Slot

SLOTS: tuple[Slot, ...] = (
    a.OCCUPATION,
    a.PET,
    a.PET_NAME,
    a.DIET,
    a.HOBBY,
    a.HOME,
    a.CITY,
    a.FAMILY,
    b.INSTRUMENT,
    b.DRINK,
    b.VEHICLE,
    b.SPORT,
    b.PLAN,
    b.STUDIES,
    b.AGE,
)
