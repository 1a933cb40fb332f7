"""A name that people can remember for each peer, from its PeerId alone."""

from rlswarm._core import prf

_MOODS = (
    "brave bright brisk calm candid cheery clever cosy curious daring eager earnest fleet "
    "frank gentle glad hardy humble jolly keen kind lively lucid mellow merry nimble patient "
    "plucky quiet steady sunny witty"
).split()
_COLOURS = (
    "amber ash azure beige bronze cobalt copper coral cream crimson ebony emerald fawn golden "
    "green indigo ivory jade lilac maroon ochre olive pearl plum ruby russet sable scarlet "
    "silver teal umber violet"
).split()
_ANIMALS = (
    "auk badger bat bear beaver bison bittern boar bream bunting buzzard carp cat chough cod "
    "coot cormorant crane cricket crow curlew deer dipper dolphin dormouse dove dunlin eagle "
    "eel egret elk falcon ferret finch fox frog gannet goat goose grouse gull hare hawk "
    "hedgehog heron hornet ibex jackdaw jay kestrel kite lapwing lark lynx magpie marten mole "
    "moth newt nightjar otter owl perch pike"
).split()


def animal_name(peer_id: str) -> str:
    """Mood, colour, animal: one of 65,536 names; a label for people, never an identity."""
    digest = prf("rlswarm 2026 animal name", [peer_id.encode()])
    mood = _MOODS[digest[0] % len(_MOODS)]
    colour = _COLOURS[digest[1] % len(_COLOURS)]
    return f"{mood}-{colour}-{_ANIMALS[digest[2] % len(_ANIMALS)]}"
