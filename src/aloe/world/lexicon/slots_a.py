"""Phrasings of the first slots: work, pets, food, hobbies, home and family. See ``lexicon_slots``."""

from __future__ import annotations

from aloe.world.lexicon import values as values
from aloe.world.lexicon.schema import Slot

OCCUPATION = Slot(
    name="occupation",
    values=values.OCCUPATIONS,
    profile=(
        "{She} works as {a} {v}.",
        "{She} earns {her} living as {a} {v}.",
        "{She} is employed as {a} {v}.",
    ),
    said=(
        "I work as {a} {v}.",
        "I am {a} {v} by trade.",
        "My job is being {a} {v}.",
        "I earn my money as {a} {v}.",
        "I was hired as {a} {v}.",
    ),
    hinted=(
        "My whole shift was about {cue} today.",
        "I see nothing but {cue} at work.",
        "At work we talked only of {cue}.",
        "After a working week of {cue}, I am worn out.",
    ),
    other=(
        "My cousin works as {a} {v}.",
        "A friend of mine was hired as {a} {v}.",
        "My neighbour used to be employed as {a} {v}.",
    ),
    uses=(
        "with your work as {a} {v} in mind",
        "as {a} {v} like you deserves",
        "easy to fit around {a} {v}'s shifts",
        "right for {a} {v} after work",
    ),
    questions=(
        "what do you do for a living?",
        "what kind of job do you have?",
        "what do you work as?",
    ),
)

PET = Slot(
    name="pet",
    values=values.PETS,
    profile=(
        "{She} keeps {a} {v} as a pet.",
        "{She} shares {her} days with a tame {v}.",
        "{She} is the owner of {a} {v}.",
    ),
    said=(
        "I keep {a} {v} as a pet.",
        "I own {a} {v}, my dearest animal.",
        "There is {a} {v} waiting to be fed.",
        "My pet is {a} {v}.",
        "I look after {a} {v} of my own.",
    ),
    hinted=(
        "The {cue} kept me busy again this morning.",
        "I was up at dawn because of the {cue}.",
        "My visitors always remark on the {cue} first.",
        "I got used to the {cue} long ago.",
    ),
    other=(
        "My cousin keeps {a} {v} as a pet.",
        "My neighbour is the proud owner of {a} {v}.",
        "A colleague of mine has a tame {v}.",
    ),
    uses=(
        "with your {v} by your side",
        "as long as your {v} is fed",
        "something your {v} will not mind",
        "with a treat for your {v}",
    ),
    questions=(
        "do you have any pets?",
        "is there an animal in your life?",
        "which pet do you keep?",
    ),
)

PET_NAME = Slot(
    name="pet_name",
    values=values.PET_NAMES,
    profile=(
        "{She} calls {her} pet {v}.",
        "{She} gave {her} pet the name {v}.",
        "{She} has an animal named {v}.",
    ),
    said=(
        "My pet is called {v}.",
        "My pet's name is {v}.",
        "I named my little companion {v}.",
        "{v} is what I call my pet.",
        "My animal answers to the name {v}.",
    ),
    hinted=(),
    other=(
        "My cousin has a pet called {v}.",
        "My neighbour named a stray {v}.",
        "A colleague of mine calls her animal {v}.",
    ),
    uses=(
        "with {v} close by",
        "so that {v} gets attention too",
        "once {v} is settled",
        "and {v} will surely approve",
    ),
    questions=(
        "what is your pet called?",
        "what name did you give your pet?",
        "does your animal have a name?",
    ),
)

DIET = Slot(
    name="diet",
    values=values.DIETS,
    profile=(
        "{She} keeps to {a} {v} diet.",
        "{She} wants {her} meals strictly {v}.",
        "{She} eats only {v} food.",
    ),
    said=(
        "I keep to {a} {v} diet.",
        "I only eat {v} food.",
        "My meals have to be {v}.",
        "Everything on my plate is {v}.",
        "For me it must be {v} cooking.",
    ),
    hinted=(
        "I never let {cue} near my plate.",
        "The waiter brought {cue}, so I stayed hungry.",
        "I was offered {cue} and declined.",
        "I cannot eat anything with {cue} in it.",
    ),
    other=(
        "My cousin keeps to {a} {v} diet.",
        "A friend of mine eats only {v} food.",
        "My neighbour cooks strictly {v} meals.",
    ),
    uses=(
        "with only {v} food",
        "in keeping with your {v} diet",
        "since your meals are {v}",
        "with something {v} to eat",
    ),
    questions=(
        "is there anything you do not eat?",
        "do you follow a diet?",
        "what food do you avoid?",
    ),
)

HOBBY = Slot(
    name="hobby",
    values=values.HOBBIES,
    profile=(
        "{She} has taken up {v} as {her} hobby.",
        "{She} spends {her} spare hours on {v}.",
        "{She} is devoted to {v}.",
    ),
    said=(
        "My favourite hobby is {v}.",
        "I am mad about {v}.",
        "I spend my spare hours on {v}.",
        "I took up {v} for fun.",
        "In my free time I enjoy {v}.",
    ),
    hinted=(
        "I lost the whole Sunday to my {cue}.",
        "My spare hours all go to my {cue}.",
        "I forget the time over my {cue}.",
        "Nothing calms me down like my {cue}.",
    ),
    other=(
        "My cousin's favourite hobby is {v}.",
        "My neighbour is mad about {v}.",
        "A colleague of mine took up {v}.",
    ),
    uses=(
        "which leaves time for {v}",
        "a good match for your {v}",
        "given your love of {v}",
        "just like an hour of {v}",
    ),
    questions=(
        "what are your hobbies?",
        "what do you do in your free time?",
        "is there a hobby you love?",
    ),
)

HOME = Slot(
    name="home",
    values=values.HOMES,
    profile=(
        "{She} has {her} home in {a} {v}.",
        "{She} rents {a} {v}.",
        "{She} has moved into {a} {v}.",
    ),
    said=(
        "My home is {a} {v}.",
        "I rent {a} {v}.",
        "I moved into {a} {v} last year.",
        "I sleep in {a} {v} every night.",
        "Home for me means {a} {v}.",
    ),
    hinted=(
        "At night I hear the wind around the {cue}.",
        "You would know my place by the {cue}.",
        "My place would be nothing without the {cue}.",
        "Friends love my place for the {cue}.",
    ),
    other=(
        "My cousin rents {a} {v}.",
        "My colleague moved into {a} {v}.",
        "A friend of mine has {a} {v} for a home.",
    ),
    uses=(
        "in the comfort of your {v}",
        "made for life in {a} {v}",
        "a good fit for your {v}",
        "without leaving your {v} behind",
    ),
    questions=(
        "what kind of home do you have?",
        "what is your place like?",
        "do you rent a house or something else?",
    ),
)

CITY = Slot(
    name="city",
    values=values.CITIES,
    profile=(
        "{She} lives in {v}.",
        "{She} is a resident of {v}.",
        "{She} has {her} postal address in {v}.",
    ),
    said=(
        "I live in {v}.",
        "I am based in {v} these days.",
        "My town is {v}.",
        "I settled in {v} years ago.",
        "{v} is where I am writing from.",
    ),
    hinted=(),
    other=(
        "My cousin lives in {v}.",
        "My boss comes from {v}.",
        "A friend of mine settled in {v}.",
    ),
    uses=(
        "easy to find in {v}",
        "not far from {v}",
        "the way people in {v} do it",
        "with the best of {v}",
    ),
    questions=(
        "which town do you live in?",
        "where are you based?",
        "where in the country are you?",
    ),
)

FAMILY = Slot(
    name="family",
    values=values.FAMILIES,
    profile=(
        "{She} shares a household with {her} {v}.",
        "{She} looks after {her} {v}.",
        "At {her} table there is always room for {her} {v}.",
    ),
    said=(
        "I share a household with my {v}.",
        "I live together with my {v}.",
        "It is just me and my {v}.",
        "I take care of my {v}.",
        "I promised my {v} to ask.",
    ),
    hinted=(),
    other=(
        "My cousin lives together with her {v}.",
        "My neighbour takes care of her {v}.",
        "A colleague often talks about her {v}.",
    ),
    uses=(
        "together with your {v}",
        "something your {v} will enjoy too",
        "with your {v} in the picture",
        "a joy for your {v} as well",
    ),
    questions=(
        "who do you live with?",
        "is there family in your household?",
        "who shares your household?",
    ),
)
