"""Phrasings of the further slots: music, drink, travel, sport, plans, studies and age. See ``lexicon_slots``."""

from __future__ import annotations

from aloe.world.lexicon import values as values
from aloe.world.lexicon.schema import Slot

INSTRUMENT = Slot(
    name="instrument",
    values=values.INSTRUMENTS,
    profile=(
        "{She} plays the {v}.",
        "{She} practises the {v} every day.",
        "{She} takes lessons on the {v}.",
    ),
    said=(
        "I play the {v}.",
        "I practise the {v} every day.",
        "I make music on the {v}.",
        "My instrument is the {v}.",
        "I take lessons on the {v}.",
    ),
    hinted=(
        "Rehearsal today was nothing but {cue}.",
        "At rehearsal I struggled with the {cue}.",
        "The band complains about the {cue} in my part.",
        "My music is all {cue} at the moment.",
    ),
    other=(
        "My cousin plays the {v}.",
        "My neighbour practises the {v} at night.",
        "A friend of mine takes lessons on the {v}.",
    ),
    uses=(
        "with a tune on your {v}",
        "after some practice on the {v}",
        "with your {v} close at hand",
        "to the sound of the {v}",
    ),
    questions=(
        "do you play an instrument?",
        "which instrument do you play?",
        "do you make music?",
    ),
)

DRINK = Slot(
    name="drink",
    values=values.DRINKS,
    profile=(
        "{She} drinks {v} whenever {she} can.",
        "{She} names {v} as {her} favourite drink.",
        "{She} never says no to some {v}.",
    ),
    said=(
        "I drink {v} whenever I can.",
        "My favourite drink is {v}.",
        "Pour me some {v} and I smile.",
        "I never say no to {v}.",
        "I am sipping {v} as we speak.",
    ),
    hinted=(
        "My glass always holds some {cue}.",
        "I need the taste of {cue} in my cup.",
        "I took a sip and noticed {cue}.",
        "My cup is empty, but I still taste {cue}.",
    ),
    other=(
        "My cousin drinks {v} every day.",
        "My boss never says no to {v}.",
        "A friend of mine keeps sipping {v}.",
    ),
    uses=(
        "with some {v} to drink",
        "over a little {v}",
        "and {v} in your glass",
        "with {v} to sip",
    ),
    questions=(
        "what do you like to drink?",
        "what is usually in your glass?",
        "do you have a favourite drink?",
    ),
)

VEHICLE = Slot(
    name="vehicle",
    values=values.VEHICLES,
    profile=(
        "{She} gets about by {v}.",
        "{She} goes to work by {v}.",
        "{She} travels everywhere by {v}.",
    ),
    said=(
        "I get about by {v}.",
        "I go everywhere by {v}.",
        "I came here by {v} today.",
        "I do all my errands by {v}.",
        "I prefer to travel by {v}.",
    ),
    hinted=(),
    other=(
        "My cousin gets about by {v}.",
        "My boss arrives by {v} each morning.",
        "A friend of mine travels everywhere by {v}.",
    ),
    uses=(
        "easy to reach by {v}",
        "a short way by {v}",
        "since you get about by {v}",
        "with the journey by {v} included",
    ),
    questions=(
        "how do you get about?",
        "how do you usually travel?",
        "how do you get to places?",
    ),
)

SPORT = Slot(
    name="sport",
    values=values.SPORTS,
    profile=(
        "{She} practises {v} as a sport.",
        "{She} trains hard at {v}.",
        "{She} belongs to a club for {v}.",
    ),
    said=(
        "My sport is {v}.",
        "I train twice a week at {v}.",
        "I joined a club for {v}.",
        "I keep fit through {v}.",
        "I compete in {v} now and then.",
    ),
    hinted=(
        "Training today was all about the {cue}.",
        "My coach had plenty to say about the {cue}.",
        "My muscles still remember the {cue}.",
        "I am still sore from the {cue}.",
    ),
    other=(
        "My cousin competes in {v}.",
        "My neighbour keeps fit through {v}.",
        "A colleague of mine joined a club for {v}.",
    ),
    uses=(
        "good for your form in {v}",
        "on a day without {v}",
        "to recover from {v}",
        "next to your training in {v}",
    ),
    questions=(
        "do you do any sport?",
        "how do you keep fit?",
        "which sport do you train for?",
    ),
)

PLAN = Slot(
    name="plan",
    values=values.PLANS,
    profile=(
        "{She} has {a} {v} coming up.",
        "{She} is getting ready for {a} {v}.",
        "Next month brings {her} {v}.",
    ),
    said=(
        "I have {a} {v} coming up.",
        "I am getting ready for {a} {v}.",
        "My {v} is next month.",
        "I am counting the days until my {v}.",
        "I have to prepare for my {v}.",
    ),
    hinted=(),
    other=(
        "My cousin has {a} {v} coming up.",
        "My neighbour is getting ready for {a} {v}.",
        "A colleague is nervous about her {v}.",
    ),
    uses=(
        "well before your {v}",
        "with your {v} coming up",
        "a help on the way to your {v}",
        "so your {v} stays on track",
    ),
    questions=(
        "is anything important coming up?",
        "what are you getting ready for?",
        "do you have big plans next month?",
    ),
)

STUDIES = Slot(
    name="studies",
    values=values.STUDIES,
    profile=(
        "{She} studied {v}.",
        "{She} holds a degree in {v}.",
        "{She} went to university for {v}.",
    ),
    said=(
        "I studied {v}.",
        "I hold a degree in {v}.",
        "I went to university for {v}.",
        "My subject was {v} back then.",
        "I wrote my thesis in {v}.",
    ),
    hinted=(),
    other=(
        "My cousin studied {v}.",
        "My boss holds a degree in {v}.",
        "A friend of mine wrote a thesis in {v}.",
    ),
    uses=(
        "given your background in {v}",
        "with your degree in {v} behind you",
        "no surprise to a student of {v}",
        "close to what {v} taught you",
    ),
    questions=(
        "what did you study?",
        "what was your subject at university?",
        "do you hold a degree?",
    ),
)

AGE = Slot(
    name="age",
    values=values.AGES,
    profile=(
        "{She} is {v} years old.",
        "{She} turned {v} this year.",
        "{She} has reached the age of {v}.",
    ),
    said=(
        "I am {v} years old.",
        "I turned {v} this year.",
        "My age is {v}, by the way.",
        "At {v} I know what I like.",
        "Being {v} years of age suits me.",
    ),
    hinted=(),
    other=(
        "My cousin is {v} years old.",
        "My boss turned {v} last week.",
        "A colleague of mine retired at {v}.",
    ),
    uses=(
        "a good idea at {v}",
        "just right at the age of {v}",
        "something to enjoy at {v}",
        "fit for {v} years of age",
    ),
    questions=(
        "how old are you?",
        "what is your age?",
        "may I ask how old you are?",
    ),
)
