"""Twelve traits with two poles each: how they are described, shown by a user, and met in a reply.

Data only. ``shown`` phrases open or close a user's message and never name the trait; ``fits`` phrases go where the
trait's ``place`` says: ``opener`` and ``closer`` are sentences without their stop, ``lead`` comes directly before
the advice ("a slow stew"), ``reason`` follows it after a comma. No phrase is part of another, and none serves
two poles: what is shown tells the pole, and only having learnt the pole tells what fits.
"""

from __future__ import annotations

from aloe.world.lexicon.schema import Pole, Trait

_FORMALITY = Trait(
    name="formality",
    place="lead",
    poles=(
        Pole(
            name="formal",
            persona=(
                "{She} is formal in speech and manner.",
                "{She} minds {her} manners and chooses correct words.",
                "{She} addresses everyone with great courtesy.",
                "{She} would never use slang.",
            ),
            shown=(
                "good day to you",
                "if I may ask",
                "with kind regards",
                "I should be obliged",
                "pardon the intrusion",
            ),
            fits=(
                "I would respectfully suggest",
                "may I recommend",
                "permit me to propose",
                "it would be my pleasure to recommend",
                "one might consider",
            ),
        ),
        Pole(
            name="casual",
            persona=(
                "{She} is casual and talks like a pal.",
                "{She} uses slang and drops formalities.",
                "{She} keeps {her} speech loose and easy-going.",
                "{She} treats everybody like an old buddy.",
            ),
            shown=(
                "hey there",
                "no worries though",
                "cheers buddy",
                "you know the drill",
                "gotta dash now",
            ),
            fits=(
                "how about",
                "why not grab",
                "you could totally go for",
                "just go with",
                "hey, maybe try",
            ),
        ),
    ),
)

_WARMTH = Trait(
    name="warmth",
    place="opener",
    poles=(
        Pole(
            name="warm",
            persona=(
                "{She} is warm with everyone {she} meets.",
                "{She} cares about how others feel.",
                "{She} has a kind word for everybody.",
                "{She} is gentle and full of affection.",
            ),
            shown=(
                "hope you are well",
                "thank you so much",
                "sending you a hug",
                "how lovely of you",
                "you are a dear",
            ),
            fits=(
                "so good to hear from you",
                "it is a joy to help you",
                "you deserve something nice",
                "my heart goes out to you",
                "what a pleasure to think along",
            ),
        ),
        Pole(
            name="blunt",
            persona=(
                "{She} is blunt and says things to people's faces.",
                "{She} never sugar-coats anything.",
                "{She} finds small talk and niceties pointless.",
                "{She} can be harsh and does not apologise for it.",
            ),
            shown=(
                "skip the niceties",
                "just tell me straight",
                "spare me the fluff",
                "do not coddle me",
                "no flattery please",
            ),
            fits=(
                "right, to the point",
                "here is the plain answer",
                "I will not dress this up",
                "no beating about the bush",
                "let me be direct",
            ),
        ),
    ),
)

_THINKING = Trait(
    name="thinking",
    place="reason",
    poles=(
        Pole(
            name="analytical",
            persona=(
                "{She} is analytical and weighs every argument.",
                "{She} trusts figures more than feelings.",
                "{She} takes problems apart piece by piece.",
                "{She} wants evidence before {she} believes a claim.",
            ),
            shown=(
                "by my numbers",
                "I compared three options",
                "the data is unclear",
                "I listed the variables",
                "on closer examination",
            ),
            fits=(
                "on the evidence the soundest choice",
                "since the figures speak for it",
                "which scores best on every criterion",
                "as a cost-benefit comparison shows",
                "because the facts add up",
            ),
        ),
        Pole(
            name="intuitive",
            persona=(
                "{She} is intuitive and follows {her} gut.",
                "{She} decides by feeling rather than by facts.",
                "{She} listens to an inner voice.",
                "{She} senses what is right without explaining it.",
            ),
            shown=(
                "my gut says",
                "call it a hunch",
                "something tells me",
                "I just feel it",
                "the vibes are off",
            ),
            fits=(
                "because it simply feels right",
                "as your instinct will confirm",
                "since your heart already knows",
                "which has the right mood about it",
                "for no reason but a good feeling",
            ),
        ),
    ),
)

_HUMOUR = Trait(
    name="humour",
    place="closer",
    poles=(
        Pole(
            name="playful",
            persona=(
                "{She} is playful and jokes at every turn.",
                "{She} cannot resist a silly pun.",
                "{She} finds something funny in everything.",
                "{She} likes to tease and be teased.",
            ),
            shown=(
                "plot twist",
                "cue the drum roll",
                "asking for a ghost",
                "insert evil laugh here",
                "knock knock",
            ),
            fits=(
                "no capes required",
                "confetti is optional",
                "side effects may include giggling",
                "batteries not included",
                "what could possibly go wrong",
            ),
        ),
        Pole(
            name="serious",
            persona=(
                "{She} is serious and rarely laughs.",
                "{She} has no patience for jokes.",
                "{She} treats every matter with gravity.",
                "{She} dislikes any kind of nonsense.",
            ),
            shown=(
                "this is no joke",
                "in all earnest",
                "the matter is important",
                "I mean it sincerely",
                "laughter aside",
            ),
            fits=(
                "it deserves to be done properly",
                "this is worth your full attention",
                "please give it the thought it merits",
                "such things should not be taken lightly",
                "a grave question needs a solid answer",
            ),
        ),
    ),
)

_LENGTH = Trait(
    name="length",
    place="opener",
    poles=(
        Pole(
            name="terse",
            persona=(
                "{She} is terse and uses few words.",
                "{She} answers in half sentences.",
                "{She} hates long messages.",
                "{She} says only what is needed.",
            ),
            shown=("in short", "one line please", "that is all", "brief answer only", "no essay needed"),
            fits=("to be brief", "short version", "to sum up", "in a nutshell", "quick answer"),
        ),
        Pole(
            name="chatty",
            persona=(
                "{She} is chatty and hard to stop.",
                "{She} tells long stories about everything.",
                "{She} loves to ramble from one thing to another.",
                "{She} could talk for hours on end.",
            ),
            shown=(
                "where do I begin",
                "funny story actually",
                "but I digress",
                "oh and another thing",
                "long story ahead",
            ),
            fits=(
                "oh, there is so much to say here",
                "let us talk this through at leisure",
                "I could go on about this all day",
                "settle in, because I have thoughts",
                "what a rich subject you bring up",
            ),
        ),
    ),
)

_OUTLOOK = Trait(
    name="outlook",
    place="reason",
    poles=(
        Pole(
            name="optimistic",
            persona=(
                "{She} is optimistic about nearly everything.",
                "{She} always sees the bright side.",
                "{She} believes that things will turn out well.",
                "{She} expects the best of people.",
            ),
            shown=(
                "it can only improve",
                "things are looking up",
                "every cloud has its lining",
                "tomorrow looks bright",
                "I bet it works out",
            ),
            fits=(
                "and it is bound to turn out well",
                "which can only lead to good things",
                "with every chance of success",
                "as the best is yet to come",
                "and you will be glad you did",
            ),
        ),
        Pole(
            name="sceptical",
            persona=(
                "{She} is sceptical of promises.",
                "{She} doubts most of what {she} hears.",
                "{She} looks for the catch in everything.",
                "{She} expects to be disappointed.",
            ),
            shown=(
                "as if that helps",
                "there must be a catch",
                "sounds too easy",
                "not that it ever works",
                "prove it to me",
            ),
            fits=(
                "though no miracle should be expected",
                "which at least makes no false promises",
                "and you may check that for yourself",
                "with all its limits admitted",
                "the least doubtful of the lot",
            ),
        ),
    ),
)

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

TRAITS: tuple[Trait, ...] = (
    _FORMALITY,
    _WARMTH,
    _THINKING,
    _HUMOUR,
    _LENGTH,
    _OUTLOOK,
    _PACE,
    _CONFIDENCE,
    _NOVELTY,
    _SOCIABILITY,
    _ORDER,
    _MODESTY,
)
