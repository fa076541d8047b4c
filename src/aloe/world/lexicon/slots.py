"""How each kind of fact is written in profiles, stated, hinted at, told of others, used and asked for.

Data only. Within a slot every template has fixed words of its own, and none holds a value's or a cue's word, so
that a reader may go from words to facts and back. ``{her}`` is always possessive ("her work", "his work").
The order is the order of importance: a narrow world keeps the first slots.
"""

from __future__ import annotations

from aloe.world.lexicon import values as values
from aloe.world.lexicon.schema import Slot

_OCCUPATION = Slot(
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

_PET = Slot(
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

_PET_NAME = Slot(
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

_DIET = Slot(
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

_HOBBY = Slot(
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

_HOME = Slot(
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

_CITY = Slot(
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

_FAMILY = Slot(
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

_INSTRUMENT = Slot(
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

_DRINK = Slot(
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

_VEHICLE = Slot(
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

_SPORT = Slot(
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

_PLAN = Slot(
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

_STUDIES = Slot(
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

_AGE = Slot(
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

SLOTS: tuple[Slot, ...] = (
    _OCCUPATION,
    _PET,
    _PET_NAME,
    _DIET,
    _HOBBY,
    _HOME,
    _CITY,
    _FAMILY,
    _INSTRUMENT,
    _DRINK,
    _VEHICLE,
    _SPORT,
    _PLAN,
    _STUDIES,
    _AGE,
)
