"""How users tell that a fact no longer holds: said of the value, or shown by what is missing of its cue.

Data only. A sentence here speaks of what has ended and of nothing else, and no two kinds of fact share one; it holds no
value's or cue's word of its own. Slots that are missing never end (an age, a family, a degree). The contexts are sets
of topics between which a manner may differ.
"""

from __future__ import annotations

ENDED: dict[str, tuple[str, ...]] = {
    "occupation": (
        "I have given up my work as {a} {v}.",
        "I no longer work as {a} {v}.",
        "My days as {a} {v} are over.",
    ),
    "pet": (
        "I no longer have the {v}.",
        "I had to give my {v} away.",
        "The {v} lives with another owner now.",
    ),
    "diet": (
        "I have given up eating {v}.",
        "I no longer keep to {a} {v} diet.",
        "My {v} meals are a thing of the past.",
    ),
    "hobby": (
        "I no longer do any {v} for fun.",
        "I have lost all interest in {v} as a hobby.",
        "As a hobby {v} is behind me.",
    ),
    "home": (
        "I have moved out of the {v}.",
        "I no longer live in {a} {v}.",
        "I handed over the keys of the {v}.",
    ),
    "city": (
        "I have moved away from {v}.",
        "I no longer live in {v}, the town.",
        "I said goodbye to the town of {v}.",
    ),
    "instrument": (
        "I no longer play the {v}.",
        "I have sold my {v}, so no more music on it.",
        "I have stopped practising the {v}.",
    ),
    "drink": (
        "I have stopped drinking {v}.",
        "I no longer drink any {v}.",
        "I have gone off the taste of {v}.",
    ),
    "vehicle": (
        "I no longer get about by {v}.",
        "I have stopped travelling by {v}.",
        "My errands by {v} are history.",
    ),
    "sport": (
        "I have given up {v} as a sport.",
        "I no longer train at {v}.",
        "I have left the club for {v}.",
    ),
    "plan": (
        "The {v} has been called off.",
        "There will be no {v} for me after all.",
        "My {v} is behind me now.",
    ),
}

GONE: dict[str, tuple[str, ...]] = {
    "occupation": (
        "There is no more {cue} in my working day.",
        "Others deal with the {cue} at work now.",
    ),
    "pet": (
        "My visitors miss the {cue} at my place.",
        "It is strange around me without the {cue}.",
    ),
    "diet": (
        "I have started to put {cue} on my plate again.",
        "Even {cue} may go near my plate these days.",
    ),
    "hobby": (
        "My {cue} went to the charity shop.",
        "Somebody else has the use of my {cue} now.",
    ),
    "home": (
        "I packed my boxes and looked at the {cue} for the last time.",
        "My boxes are gone from beside the {cue}.",
    ),
    "instrument": (
        "The band must do without the {cue} from me.",
        "There is no more {cue} at rehearsal from me.",
    ),
    "drink": (
        "There is no trace of {cue} in my cup any more.",
        "My cup has not smelt of {cue} for days.",
    ),
    "sport": (
        "Somebody else has my share of the {cue} now.",
        "It has been weeks since the {cue} and me.",
    ),
}

#: What a manner may depend on: a name and the topics that belong to it.
CONTEXTS: dict[str, tuple[str, ...]] = {
    "practical matters": ("budget", "tidying", "learning", "health"),
    "leisure": ("dinner", "weekend", "evening", "trip", "celebration", "gift"),
}
