"""The facts that personas of the world can have, slot by slot (data for ``slots``).

Each slot is one string of ``value:cue`` entries; ``_`` stands for a space in a value. Values of one word come
first, because a narrow world takes the first n values. Words are chosen to be rare in talk about other things,
and no word occurs twice anywhere in the lexicon, not even as a plural: readers find facts by these words alone.
No value begins with a vowel that sounds like a consonant (or the reverse), so that ``an`` goes by the letter.
"""

from __future__ import annotations

from aloe.world.lexicon.schema import Value


def parse_values(entries: str) -> tuple[Value, ...]:
    """Read ``"baker:dough marine_biologist:plankton"`` into values with their cues (empty without a colon)."""
    pairs = (entry.partition(":") for entry in entries.split())
    return tuple(Value(text.replace("_", " "), cue) for text, _, cue in pairs)


# Cues: what such a worker handles all day (mass nouns and plurals).
OCCUPATIONS = parse_values("""
    baker:dough sculptor:chisels plumber:faucets electrician:wiring dentist:molars nurse:bandages
    teacher:worksheets librarian:bookshelves florist:bouquets seamstress:hems carpenter:planks locksmith:padlocks
    optician:spectacles pharmacist:prescriptions butcher:sausages fishmonger:haddock barber:clippers
    architect:blueprints accountant:invoices lawyer:lawsuits journalist:headlines translator:subtitles
    geologist:sediment astronomer:telescopes farmer:tractors welder:girders roofer:shingles bricklayer:mortar
    glazier:windowpanes jeweller:gemstones blacksmith:anvils paramedic:stretchers firefighter:hydrants
    courier:parcels midwife:newborns archivist:manuscripts cashier:barcodes undertaker:coffins
    programmer:debugging marine_biologist:plankton flight_attendant:turbulence court_stenographer:transcripts
""")

# Cues: the noise, the gear or the traces of the animal (they follow "the").
PETS = parse_values("""
    rabbit:hutch dog:leash cat:catnip goldfish:fishbowl parrot:squawking hamster:treadwheel canary:warbling
    tortoise:hibernation gecko:terrarium snake:hissing pony:saddle goat:bleating hen:coop duck:quacking
    piglet:grunting sheep:fleece alpaca:spitting donkey:braying ferret:burrowing chinchilla:dustbath
    hedgehog:quills tarantula:cobwebs axolotl:gills frog:croaking chameleon:camouflage iguana:basking
    cockatoo:screeching peacock:plumage pigeon:cooing owl:hooting raven:cawing gerbil:squeaking rat:gnawing
    goose:honking cow:mooing snail:slime squirrel:acorns finch:chirping hermit_crab:seashells
""")

PET_NAMES = parse_values("""
    Fizzy Ziggy Nibbles Pippin Rufus Binky Dexter Fidget Figaro Gizmo Goliath Gulliver Hercules Hobbes Jasper
    Jinx Juno Kiki Loki Luna Mabel Merlin Monty Moxie Odin Otis Pogo Quincy Rascal Rolo Scamp Snickers Twiggy
    Waldo Wilbur Yoyo Zelda Zorro Bandit Tinker
""")

# Cues: what somebody on this diet refuses.
DIETS = parse_values("""
    vegan:honey vegetarian:bacon pescatarian:chicken ketogenic:potatoes paleo:lentils kosher:shellfish
    halal:gelatine macrobiotic:aubergines carnivore:broccoli fruitarian:turnips wholefood:nuggets
    alkaline:vinegar pollotarian:venison eggless:omelettes sugarless:candy saltless:pretzels glutenless:seitan
    milkless:yoghurt nutless:almonds soyless:tempeh cheeseless:brie butterless:croissants grainless:barley
    porkless:ham beefless:burgers riceless:risotto cornless:popcorn spiceless:chillies oilless:fritters
    onionless:shallots fishless:anchovies garlicless:aioli citrusless:grapefruit mushroomless:truffles
    berryless:raspberries coconutless:macaroons yeastless:crumpets tomatoless:ketchup nightshade-free:paprika
""")

# Cues: what the hobby needs or leaves behind (they follow "my").
HOBBIES = parse_values("""
    knitting:yarn pottery:kiln photography:tripod gardening:compost birdwatching:binoculars chess:gambits
    embroidery:thimble quilting:patchwork calligraphy:inkwell beekeeping:beehives woodcarving:penknife
    painting:easel sketching:charcoal crochet:doilies juggling:beanbags conjuring:wand gaming:joystick
    philately:postmarks genealogy:ancestors scrapbooking:stickers crosswords:anagrams soapmaking:lye
    candlemaking:wicks foraging:nettles upholstery:cushions bookbinding:endpapers robotics:servos topiary:hedges
    falconry:gauntlet karaoke:microphone cosplay:costumes weaving:loom macrame:knots
    ventriloquism:dummies angling:bait cheesemaking:curds numismatics:coins puppetry:marionettes
    tarot:pentacles woodturning:lathe model_railways:locomotives
""")

# Cues: the part by which such a dwelling is known (they follow "the").
HOMES = parse_values("""
    houseboat:gangplank cottage:thatch lighthouse:foghorn farmhouse:silo caravan:awning loft:skylight
    penthouse:elevator castle:moat windmill:millstones treehouse:branches cabin:woodpile chalet:snowdrifts
    villa:colonnade basement:dampness dormitory:bunkbeds monastery:cloister mansion:chandelier boathouse:jetty
    vicarage:belfry schoolhouse:blackboard warehouse:pallets ranch:corral attic:eaves hostel:lockers
    townhouse:stoop tenement:stairwell condominium:doorman bedsit:kitchenette observatory:dome chapel:pews
    fort:cannons watermill:waterwheel gatehouse:portcullis croft:peat yurt:lattice bungalow:verandah
    palace:ballroom bunker:concrete embassy:flagpole
""")

CITIES = parse_values("""
    Ashcombe Bellwick Corrany Dunmarsh Eldergate Fenbury Glenhurst Harrowdale Inverlay Jorvale Kestleford
    Larkmouth Millhaven Northolm Oakenshaw Pellbrook Quarrington Ravenscar Saltmere Thornleigh Velmore Wexcott
    Yarrowby Zennerton Brackwater Cinderford Dovecliff Emberley Foxgrove Greywick Ivybridge Juniperton Kilnsea
    Loxwood Marlport Netherby Orford Pennygate
""")

FAMILIES = parse_values("""
    twins triplets stepdaughter stepson grandmother grandfather niece nephew husband wife sister brother aunt
    uncle daughter son toddler teenager girlfriend boyfriend fiancee godson goddaughter godmother godfather
    stepmother stepfather stepbrother stepsister grandson granddaughter quadruplets roommate lodger nanny
    housemate grandparents
""")

# Cues: the music, the sound or the parts of the instrument.
INSTRUMENTS = parse_values("""
    piano:sonatas guitar:strumming violin:rosin accordion:bellows trumpet:fanfares trombone:glissandos
    bagpipes:ceilidhs banjo:bluegrass mandolin:tremolo cello:endpins tuba:oompah xylophone:mallets sitar:ragas
    tambourine:jingles lute:madrigals theremin:antennas castanets:flamenco bugle:reveille kazoo:buzzing
    concertina:shanties harp:plucking harpsichord:fugues glockenspiel:chimes timpani:rumbling saxophone:bebop
    clarinet:klezmer flute:trills harmonica:wailing didgeridoo:droning balalaika:troikas oboe:reeds
    bassoon:burbling djembe:drumming bongos:rumbas maracas:rattling viola:quartets piccolo:shrillness
    zither:yodelling synthesizer:oscillators
""")

# Cues: what the drink smells or tastes of.
DRINKS = parse_values("""
    tea:bergamot coffee:arabica beer:hops wine:tannins cider:apples champagne:bubbles kombucha:scoby matcha:umami
    cocoa:marshmallows lemonade:lemons whisky:smokiness rum:molasses gin:juniper absinthe:wormwood eggnog:nutmeg
    chai:cardamom tequila:agave rooibos:redbush smoothies:bananas kefir:tanginess lassi:mangoes cola:caramel
    limoncello:zest amaretto:marzipan sherry:raisins ouzo:aniseed mojitos:spearmint kvass:ryebread
    vermouth:botanicals tonic:quinine latte:foam oatmilk:oats milkshakes:sprinkles cappuccino:cinnamon
    perry:pears slivovitz:plums grappa:grapes buttermilk:sourness
""")

VEHICLES = parse_values("""
    bicycle tram scooter motorbike moped tricycle ferry bus subway taxi van minibus rickshaw rowboat skateboard
    wheelchair tandem convertible hatchback jeep sedan limousine hovercraft helicopter gondola sled dinghy
    motorboat monorail trolleybus funicular carriage sidecar quadbike hearse sailboat
""")

# Cues: the gear, the place or the move that belongs to the sport (they follow "the").
SPORTS = parse_values("""
    tennis:backhand swimming:goggles climbing:carabiners fencing:epees archery:quiver boxing:uppercuts judo:tatami
    karate:dojo rowing:oars sailing:spinnaker surfing:wetsuit skiing:slalom snowboarding:halfpipe curling:brooms
    golf:caddie cricket:wickets baseball:shortstop basketball:dunks volleyball:spiking badminton:shuttlecock
    rugby:scrum hockey:puck polo:chukkas gymnastics:cartwheels trampolining:somersaults weightlifting:barbells
    wrestling:headlocks bowling:tenpins darts:bullseye snooker:chalk croquet:lawn paragliding:updrafts
    skydiving:parachute skating:pirouettes parkour:rooftops orienteering:compass kayaking:paddles
    football:goalposts
""")

PLANS = parse_values("""
    wedding exam audition surgery graduation divorce reunion regatta retirement sabbatical pilgrimage
    housewarming interview promotion marathon recital exhibition conference honeymoon cruise expedition safari
    internship bootcamp secondment fundraiser anniversary symposium relocation renovation apprenticeship tournament
    premiere vaccination transplant inspection debut election
""")

STUDIES = parse_values("""
    physics philosophy linguistics botany theology economics archaeology anthropology zoology mathematics
    statistics psychology sociology geography geology astronomy chemistry biochemistry pharmacology criminology
    musicology literature journalism architecture forestry agriculture dentistry oceanography meteorology
    cybernetics ethics genetics virology mineralogy egyptology toxicology ecology demography neuroscience
    immunology metallurgy
""")

AGES = tuple(Value(str(age)) for age in range(16, 86))
