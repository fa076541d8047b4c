"""The further six traits: pace, confidence, novelty, sociability, order and modesty. See ``lexicon_traits``."""

from __future__ import annotations

from aloe.world.lexicon.schema import Pole, Trait

_PACE = Trait(
    name="pace",
    place="lead",
    poles=(
        Pole(
            name="impatient",
            persona=(
                "{She} is impatient and hates waiting.",
                "{She} wants everything done at once.",
                "{She} hurries through {her} days.",
                "{She} loses {her} temper in queues.",
            ),
            shown=(
                "I needed this yesterday",
                "chop chop",
                "the clock is ticking",
                "quickly if you can",
                "I cannot wait around",
            ),
            fits=(
                "right away, take",
                "without delay, go for",
                "the fastest way is",
                "this very minute, start with",
                "as soon as you can, get",
            ),
        ),
        Pole(
            name="patient",
            persona=(
                "{She} is patient and never rushes.",
                "{She} lets things ripen in their own time.",
                "{She} can wait calmly for anything.",
                "{She} takes one step after another.",
            ),
            shown=(
                "no hurry at all",
                "whenever it suits you",
                "take all your time",
                "I am happy to wait",
                "slowly but surely",
            ),
            fits=(
                "without any rush, consider",
                "when the moment comes, enjoy",
                "step by step, work towards",
                "with all the time in the world, choose",
                "once you feel ready, think of",
            ),
        ),
    ),
)

_CONFIDENCE = Trait(
    name="confidence",
    place="closer",
    poles=(
        Pole(
            name="assertive",
            persona=(
                "{She} is assertive and stands up for {her} views.",
                "{She} takes the lead in any group.",
                "{She} knows {her} own mind and says so.",
                "{She} does not back down in an argument.",
            ),
            shown=(
                "I insist on it",
                "my mind is made up",
                "I know what I want",
                "I take charge here",
                "mark my words",
            ),
            fits=(
                "the decision is yours to make",
                "go and own it",
                "you are in command here",
                "nobody will stop you",
                "stand firm on this",
            ),
        ),
        Pole(
            name="anxious",
            persona=(
                "{She} is anxious and worries about small things.",
                "{She} often fears making a mistake.",
                "{She} needs reassurance before {she} acts.",
                "{She} lies awake over what might happen.",
            ),
            shown=(
                "I keep fretting",
                "what if it fails",
                "I hope that is okay",
                "sorry to bother you",
                "my stomach is churning",
            ),
            fits=(
                "there is nothing to fear here",
                "you are doing just fine",
                "you can always change it later",
                "I am here if doubts come up",
                "breathe, this is safe",
            ),
        ),
    ),
)

_NOVELTY = Trait(
    name="novelty",
    place="reason",
    poles=(
        Pole(
            name="adventurous",
            persona=(
                "{She} is adventurous and tries everything once.",
                "{She} is always after a new thrill.",
                "{She} gets bored by routine.",
                "{She} likes to take risks.",
            ),
            shown=(
                "surprise me",
                "the wilder the better",
                "I crave something new",
                "I am game for anything",
                "same old bores me",
            ),
            fits=(
                "because you have not tried it yet",
                "which is off the beaten track",
                "for the sheer thrill of it",
                "as a leap into the unknown",
                "since fortune favours the bold",
            ),
        ),
        Pole(
            name="cautious",
            persona=(
                "{She} is cautious and avoids risks.",
                "{She} prefers what {she} already knows.",
                "{She} thinks twice before any change.",
                "{She} likes familiar ways best.",
            ),
            shown=(
                "nothing risky please",
                "better safe than sorry",
                "I like the familiar",
                "let us not overdo it",
                "only tried and tested things",
            ),
            fits=(
                "a safe bet in every respect",
                "since it holds no nasty surprises",
                "as it has proved itself many times",
                "with hardly any risk attached",
                "which stays on well-known ground",
            ),
        ),
    ),
)

_SOCIABILITY = Trait(
    name="sociability",
    place="opener",
    poles=(
        Pole(
            name="outgoing",
            persona=(
                "{She} is outgoing and makes friends everywhere.",
                "{She} draws energy from a crowd.",
                "{She} loves company and hates being alone.",
                "{She} starts conversations with strangers.",
            ),
            shown=(
                "the whole gang says hi",
                "the more the merrier",
                "I told everyone already",
                "let us chat more",
                "all my friends agree",
            ),
            fits=(
                "call your friends for this one",
                "this is best shared with a crowd",
                "bring people along",
                "the room will love you for it",
                "time to gather your favourite people",
            ),
        ),
        Pole(
            name="withdrawn",
            persona=(
                "{She} is withdrawn and keeps to {her} own company.",
                "{She} finds crowds exhausting.",
                "{She} needs a lot of time alone.",
                "{She} says little among strangers.",
            ),
            shown=(
                "no crowds please",
                "I would rather stay in",
                "just between us",
                "people wear me out",
                "alone is fine",
            ),
            fits=(
                "you need not see anyone for this",
                "here is something for you alone",
                "peace and quiet come first",
                "no company necessary",
                "this stays behind your own door",
            ),
        ),
    ),
)

_ORDER = Trait(
    name="order",
    place="closer",
    poles=(
        Pole(
            name="planner",
            persona=(
                "{She} is a planner and loves lists.",
                "{She} schedules every hour of the day.",
                "{She} prepares everything well in advance.",
                "{She} is upset when plans change.",
            ),
            shown=(
                "it is in my calendar",
                "I made a checklist",
                "first things first",
                "item two on my agenda",
                "as scheduled",
            ),
            fits=(
                "put it in your diary now",
                "draw up a timetable first",
                "tick it off when done",
                "prepare the details the day before",
                "let a list guide you",
            ),
        ),
        Pole(
            name="spontaneous",
            persona=(
                "{She} is spontaneous and acts on impulse.",
                "{She} never knows in the morning where the day will end.",
                "{She} makes things up as {she} goes along.",
                "{She} finds schedules stifling.",
            ),
            shown=(
                "I just thought of it",
                "on a whim",
                "who needs a plan",
                "I am winging it",
                "spur of the moment",
            ),
            fits=(
                "no preparation needed",
                "simply see where it takes you",
                "drop everything and do it",
                "improvise the rest",
                "let chance decide the details",
            ),
        ),
    ),
)

_MODESTY = Trait(
    name="modesty",
    place="lead",
    poles=(
        Pole(
            name="modest",
            persona=(
                "{She} is modest about {her} achievements.",
                "{She} plays down {her} own part.",
                "{She} is embarrassed by praise.",
                "{She} does not like to stand out.",
            ),
            shown=(
                "I am no expert",
                "nothing special about me",
                "I was merely lucky",
                "others know far better",
                "I hardly deserve help",
            ),
            fits=(
                "something simple would do, perhaps",
                "without any fuss, pick",
                "a humble idea would be",
                "in all simplicity, have",
                "quietly treat yourself to",
            ),
        ),
        Pole(
            name="proud",
            persona=(
                "{She} is proud of {her} achievements.",
                "{She} likes to be admired.",
                "{She} talks a lot about {her} own success.",
                "{She} believes {she} deserves the very best.",
            ),
            shown=(
                "as usual I excelled",
                "I am simply the best",
                "nobody does it like me",
                "I won again naturally",
                "my talent is obvious",
            ),
            fits=(
                "nothing less will do than",
                "someone of your class should have",
                "to impress them all, choose",
                "only the finest for you, namely",
                "worthy of your talents would be",
            ),
        ),
    ),
)

TRAITS_B: tuple[Trait, ...] = (_PACE, _CONFIDENCE, _NOVELTY, _SOCIABILITY, _ORDER, _MODESTY)
