"""Traits of character: twelve, each with two poles; how they are told, let show, and met in a reply.

Data only. ``shown`` phrases open or close a user's message and never name the trait; ``fits`` phrases go where the
trait's ``place`` says: ``opener`` and ``closer`` are sentences without their stop, ``lead`` comes directly before
the advice ("a slow stew"), ``reason`` follows it after a comma. No phrase is part of another, and none serves
two poles: what is shown tells the pole, and only having learnt the pole tells what fits.
"""

from __future__ import annotations

from aloe.world.lexicon.schema import Pole, Trait
from aloe.world.lexicon.traits_b import TRAITS_B

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

TRAITS: tuple[Trait, ...] = (_FORMALITY, _WARMTH, _THINKING, _HUMOUR, _LENGTH, _OUTLOOK, *TRAITS_B)
