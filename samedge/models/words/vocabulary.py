"""The words that a bundle knows unless others are given: COCO's things, and what is no thing."""

from __future__ import annotations

from pathlib import Path

from samedge.bundle.words import Word, ambiguous
from samedge.errors import ExportError
from samedge.files.reading import read_bytes

COCO: tuple[tuple[str, str], ...] = (
    ("person", "human,man,woman,child,boy,girl,kid,pedestrian,baby,adult,lady,guy"),
    ("bicycle", "bike,cycle,push bike"),
    ("car", "automobile,sedan,taxi,cab,suv,minivan,sports car,jeep"),
    ("motorcycle", "motorbike,motor scooter,scooter,moped"),
    ("airplane", "aeroplane,plane,aircraft,jet,airliner"),
    ("bus", "coach,minibus,school bus"),
    ("train", "locomotive,tram,railway car,subway train"),
    ("truck", "lorry,pickup,pickup truck,fire engine,fire truck,tow truck"),
    ("boat", "ship,canoe,sailboat,rowboat,yacht,motorboat,kayak"),
    ("traffic light", "traffic signal,stoplight"),
    ("fire hydrant", "hydrant"),
    ("stop sign", ""),
    ("parking meter", ""),
    ("bench", "park bench"),
    ("bird", "duck,goose,pigeon,seagull,parrot,swan,hen,chicken,rooster,owl,eagle"),
    ("cat", "kitten,kitty,tomcat,tabby"),
    ("dog", "puppy,hound,poodle,terrier,doggy"),
    ("horse", "pony,stallion,mare,foal"),
    ("sheep", "lamb,ram,ewe"),
    ("cow", "cattle,bull,ox,calf"),
    ("elephant", ""),
    ("bear", "polar bear,brown bear,grizzly"),
    ("zebra", ""),
    ("giraffe", ""),
    ("backpack", "rucksack,knapsack,school bag"),
    ("umbrella", "parasol"),
    ("handbag", "purse,shoulder bag"),
    ("tie", "necktie,bow tie"),
    ("suitcase", "luggage,briefcase,trunk"),
    ("frisbee", "flying disc"),
    ("skis", "ski"),
    ("snowboard", ""),
    ("sports ball", "ball,football,soccer ball,basketball,tennis ball,baseball,volleyball"),
    ("kite", ""),
    ("baseball bat", "bat"),
    ("baseball glove", "mitt,catcher glove"),
    ("skateboard", ""),
    ("surfboard", ""),
    ("tennis racket", "racket,racquet"),
    ("bottle", "wine bottle,beer bottle,water bottle,flask"),
    ("wine glass", "goblet,champagne glass"),
    ("cup", "mug,teacup,coffee cup,coffee mug,tumbler"),
    ("fork", ""),
    ("knife", ""),
    ("spoon", "ladle,teaspoon"),
    ("bowl", "soup bowl,mixing bowl"),
    ("banana", ""),
    ("apple", ""),
    ("sandwich", "burger,hamburger,cheeseburger,toast"),
    ("orange", "tangerine,mandarin,clementine"),
    ("broccoli", ""),
    ("carrot", ""),
    ("hot dog", "frankfurter"),
    ("pizza", ""),
    ("donut", "doughnut"),
    ("cake", "cupcake,pie,pastry"),
    ("chair", "armchair,stool,seat,rocking chair"),
    ("couch", "sofa,settee,loveseat"),
    ("potted plant", "house plant,plant,flower pot,flowerpot"),
    ("bed", "bunk bed,crib"),
    ("dining table", "table,desk,coffee table"),
    ("toilet", "urinal,toilet seat,lavatory"),
    ("tv", "television,monitor,screen,computer monitor,tv set"),
    ("laptop", "notebook computer,laptop computer"),
    ("mouse", "computer mouse"),
    ("remote", "remote control,game controller"),
    ("keyboard", "computer keyboard"),
    ("cell phone", "mobile phone,phone,smartphone,telephone,cellphone,mobile"),
    ("microwave", "microwave oven"),
    ("oven", "stove,cooker"),
    ("toaster", ""),
    ("sink", "washbasin,basin"),
    ("refrigerator", "fridge,freezer"),
    ("book", "notebook,magazine,textbook"),
    ("clock", "watch,alarm clock,wall clock"),
    ("vase", ""),
    ("scissors", "shears"),
    ("teddy bear", "teddy,stuffed animal,plush toy"),
    ("hair drier", "hair dryer,blow dryer,hairdryer"),
    ("toothbrush", ""),
)
"""COCO's 80 categories and other names of the same things."""

_SURROUNDINGS = """
sky wall floor ceiling road pavement grass tree water sea sand snow mountain building window door
fence curtain carpet shelf cupboard leaf flower rock cloud shadow face hand hair clothes shoe sign
text food box paper lamp pillow rug roof wheel pole
"""
BACKGROUND = tuple(_SURROUNDINGS.split())
"""What photos are full of and nobody asks for here: words have to beat it."""

_LIMIT_LINES = 20_000


def coco_words(*, off: dict[str, str] | None = None) -> list[Word]:
    """COCO's things.

    Args:
        off: words that are known and not answered, with the reason.
    """
    return [
        Word(
            name=name,
            synonyms=[part for part in others.split(",") if part],
            off=(off or {}).get(name),
        )
        for name, others in COCO
    ]


def usual_words() -> list[Word]:
    """COCO's things and the background."""
    return [*coco_words(), *(Word(name=name, is_askable=False) for name in BACKGROUND)]


def read_words(path: Path) -> list[Word]:
    """Words of a text file, one a line, synonyms after it with commas; the background joins them.

    Args:
        path: of the file; ``#`` begins a remark.

    Raises:
        ExportError: no such file, no word in it, a word twice, or far too many.
    """
    data = read_bytes(path, limit="document_bytes", expected="a list of words", error=ExportError)
    lines = data.decode("utf-8", errors="replace").splitlines()
    rows = [line.partition("#")[0].strip().lower() for line in lines]
    words = [_word(row) for row in rows if row]
    if not words or len(words) > _LIMIT_LINES:
        raise ExportError(f"{path} has {len(words)} words, expected 1 to {_LIMIT_LINES}.")
    empty = [word.name for word in words if not word.keys][:3]
    if empty:
        raise ExportError(f"{path} has {', '.join(map(repr, empty))}, which no text can ask for.")
    twice = ambiguous(words)[:3]
    if twice:
        raise ExportError(f"{path} has {', '.join(map(repr, twice))} twice: name each word once.")
    keys = {key for word in words for key in word.keys}
    others = [Word(name=name, is_askable=False) for name in BACKGROUND if name not in keys]
    return [*words, *others]


def _word(row: str) -> Word:
    name, *synonyms = (part.strip() for part in row.split(","))
    return Word(name=name, synonyms=[part for part in synonyms if part])
