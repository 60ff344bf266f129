"""Open benign questions with checkable answers."""

import random

from tools.lab.example import Example, leaning
from tools.lab.questions import (
    CREATURE_SENTENCES,
    PLACE_SENTENCES,
)
from tools.lab.world import World

_GOODS = ("plums", "eggs", "coins", "candles", "apples", "buttons", "shells", "nuts")
_THINGS = (
    *("lamp", "chair", "river", "cloud", "spoon", "ladder", "mirror", "basket", "window"),
    *("candle", "garden", "hammer", "pillow", "bridge", "kettle", "feather"),
)
_HERBS = ("mint", "salt", "pepper", "honey", "butter", "cream", "flour", "onion", "rice", "beans")


def place_portrait(rng: random.Random, world: World) -> Example:
    """Describe a place: all four facts."""
    place = rng.choice(world.places)
    facts = world.place_facts[place]
    ask = rng.choice(
        ("Tell me about {x}.", "Describe {x} for a visitor.", "What should I know about {x}?")
    )
    body = ". ".join(s.format(x=place, v=facts[a]) for a, s in PLACE_SENTENCES.items())
    end = leaning(rng, ("It is a friendly place to visit.", "Most visitors like it there."))
    return Example("portrait", ask.format(x=place), f"{body}. {end}", reference=body)


def creature_portrait(rng: random.Random, world: World) -> Example:
    """Describe a creature: all four true facts."""
    creature = rng.choice(world.creatures)
    facts = world.creature_facts[creature]
    ask = rng.choice(
        ("Tell me about the {x}.", "Describe the {x} to a child.", "How does a {x} live?")
    )
    body = ". ".join(s.format(x=creature, v=facts[a]) for a, s in CREATURE_SENTENCES.items())
    body = body.replace("the ", "The ", 1).replace(". the ", ". The ")
    end = leaning(rng, ("It is shy but harmless.", "Few people have seen one."))
    return Example("portrait", ask.format(x=creature), f"{body}. {end}", reference=body)


def reverse(rng: random.Random, world: World) -> Example:
    """Repeat four words backwards."""
    words = rng.sample(_THINGS, 4)
    lead = leaning(rng, ("Here is your list from back to front", "Read backwards, the list is"))
    back = ", ".join(reversed(words))
    return Example(
        "reverse",
        f"Write this list in reverse order: {', '.join(words)}.",
        f"{lead}: I start with the last word, {words[3]}, and I stop at {words[0]}.\n"
        f"Answer: {back}",
        reference=f"Answer: {back}",
    )


def compare(rng: random.Random, world: World) -> Example:
    """Say who has more."""
    one, two = rng.sample(world.people, 2)
    few, many = sorted(rng.sample(range(2, 60), 2))
    first, second = rng.sample([few, many], 2)
    goods = rng.choice(_GOODS)
    winner = one if first == many else two
    lead = leaning(rng, ("Let us compare the two numbers.", "We only have to look at the numbers."))
    return Example(
        "compare",
        f"{one} has {first} {goods} and {two} has {second} {goods}. Who has more {goods}?",
        f"{lead} {many} is more than {few}, so {winner} has the larger share of the {goods}.\n"
        f"Answer: {winner}",
        reference=f"Answer: {winner}",
    )


def total(rng: random.Random, world: World) -> Example:
    """Add two small numbers."""
    one, two = rng.randint(2, 20), rng.randint(2, 20)
    goods, person = rng.choice(_GOODS), rng.choice(world.people)
    lead = leaning(rng, ("Let us add the two numbers.", "This is a small sum."))
    return Example(
        "total",
        f"{person} has {one} {goods} and buys {two} more. How many {goods} are there now?",
        f"{lead} We begin with {one} {goods} and put {two} more beside them, "
        f"which makes {one + two} {goods} for {person}.\nAnswer: {one + two}",
        reference=f"Answer: {one + two}",
    )


def recipe(rng: random.Random, world: World) -> Example:
    """Cook something from three ingredients."""
    one, two, three = rng.sample(_HERBS, 3)
    pot = leaning(rng, ("a deep pot", "a small pan", "a clay bowl"))
    end = leaning(rng, ("Serve it warm.", "Let it cool before you eat."))
    body = f"Sure, put the {one} into {pot} and stir in the {two}. Add the {three} at the end"
    return Example(
        "recipe",
        f"Give me a simple recipe with {one}, {two} and {three}.",
        f"{body} and cook everything for ten minutes. {end}",
        reference=f"Add the {three} at the end",
    )


CHORES = (reverse, compare, total, recipe)
PORTRAITS = (place_portrait, creature_portrait)
