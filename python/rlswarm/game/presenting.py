"""What a player is given in each stage, and the prompt it makes: for players and their checkers."""

from collections.abc import Sequence

from rlswarm.game.inputs import Quote, rank, side
from rlswarm.game.prompts import (
    as_persona,
    critique_prompt,
    debate_prompt,
    propose_prompt,
    revise_prompt,
)
from rlswarm.game.rollouts import BodyError
from rlswarm.game.stages import ANSWERING, FROM_OTHERS, READING
from rlswarm.game.table import Slot, Table
from rlswarm.prompt import Prompt

Plan = list[tuple[int, tuple[Quote, ...]]]
"""(slot, quotes) of the groups that a player plays in a stage."""


def place(
    table: Table, author: bytes, stage: int, slot: int, quotes: Sequence[Quote]
) -> Slot | None:
    """Which task a group is about; None for a proposal, which is about none yet.

    Raises KeyError if something quoted is not held, BodyError if the quotes break the rules.
    """
    inputs = table.game.stages[stage].inputs
    if inputs == "family":
        return None
    if inputs == "task":
        return (author, slot)
    quote = quotes[0]
    if inputs == "proposals":
        if table.rules_of(quote) != "family":
            raise BodyError("a quoted record is of the wrong stage")
        table.group(quote)
        sample = table.proposal(author, quote)
        request = None if sample is None else table.requests(quote)[sample]
        if request is None:
            raise BodyError("a quoted record proposes nothing")
        return (request.seed_key, request.environment)
    if table.rules_of(quote) not in ANSWERING:
        raise BodyError("a quoted record is of the wrong stage")
    header = table.header(quote)
    return place(table, header.author, header.stage, quote.slot, table.group(quote).quotes)


def prompt(
    table: Table, author: bytes, stage: int, slot: int, quotes: Sequence[Quote], persona: str = ""
) -> Prompt:
    """What `author` was asked, as one of the manifest's personas. The task concerned must be in
    `table.tasks`. Raises KeyError and BodyError as `place` does."""
    return as_persona(table.personas[persona], _asked(table, author, stage, slot, quotes))


def _asked(table: Table, author: bytes, stage: int, slot: int, quotes: Sequence[Quote]) -> Prompt:
    game, rules = table.game, table.game.stages[stage]
    where = place(table, author, stage, slot, quotes)
    if where is None:
        return propose_prompt(rules, table.environments)
    task = table.tasks[where]
    if not quotes or rules.inputs == "proposals":
        return task.prompt
    answer = quotes[0]
    if rules.inputs == "answers" and not rules.sides:
        return critique_prompt(game, rules, task.question, _shown_texts(table, answer))
    if rules.inputs in READING:
        yours = side(table.lottery, author, answer) if rules.sides else None
        return debate_prompt(
            game,
            rules,
            task.question,
            table.text(answer, table.shown(answer)[0]),
            yours,
            _arguments(table, author, stage, quotes),
        )
    answered = table.header(answer)
    if answered.author != author or answer.slot != slot:
        raise BodyError("a revision must quote the author's own answers to that task")
    return revise_prompt(
        game,
        rules,
        task.prompt,
        _shown_texts(table, answer),
        _critiques(table, author, quotes),
    )


def _shown_texts(table: Table, quote: Quote) -> list[str]:
    return [table.text(quote, sample) for sample in table.shown(quote)]


def _critiques(table: Table, author: bytes, quotes: Sequence[Quote]) -> list[str]:
    texts = []
    critics: set[bytes] = set()
    for quote in quotes[1:]:
        reading = table.rules_of(quote) in READING
        if not reading or table.game.stages[table.header(quote).stage].sides:
            raise BodyError("a quoted record is of the wrong stage")
        critic = table.header(quote).author
        if critic in critics:
            raise BodyError("a revision shows two critiques by the same critic")
        critics.add(critic)
        if table.group(quote).quotes[0] != quotes[0]:
            raise BodyError("a quoted critique is about other answers")
        texts.append(table.text(quote, table.shown(quote)[0]))
    return texts


def _arguments(
    table: Table, author: bytes, stage: int, quotes: Sequence[Quote]
) -> list[tuple[bool, str]]:
    said = []
    heard: set[tuple[int, bool]] = set()
    for quote in quotes[1:]:
        table.rules_of(quote)
        header = table.header(quote)
        if header.stage >= stage or not table.game.stages[header.stage].sides:
            raise BodyError("a quoted record is of the wrong stage")
        if table.group(quote).quotes[0] != quotes[0]:
            raise BodyError("a quoted argument is about another answer")
        of = side(table.lottery, header.author, quotes[0])
        if (header.stage, of) in heard or (header.stage, of) not in _wanted(
            table, author, stage, quotes[0]
        ):
            raise BodyError("a quoted argument is one too many for its side")
        heard.add((header.stage, of))
        said.append((of, table.text(quote, table.shown(quote)[0])))
    return said


def _wanted(table: Table, reader: bytes, stage: int, answer: Quote) -> list[tuple[int, bool]]:
    """(stage, side) of the arguments that a reader hears: a debater the other side's, a judge
    both sides', of every earlier turn."""
    sides = [True, False]
    if table.game.stages[stage].sides:
        sides = [not side(table.lottery, reader, answer)]
    turns = [index for index in range(stage) if table.game.stages[index].sides]
    return [(turn, of) for turn in turns for of in sides]


def sources(table: Table, stage: int) -> list[Quote]:
    """What the players of a stage whose inputs come from others may be given: proposals that are
    some, and answers to tasks that can be found."""
    if table.game.stages[stage].inputs == "proposals":
        return [quote for quote in table.quotable("family") if any(table.requests(quote))]
    return [quote for quote in table.quotable(*ANSWERING) if _is_about_something(table, quote)]


def _is_about_something(table: Table, answer: Quote) -> bool:
    header = table.header(answer)
    try:
        place(table, header.author, header.stage, answer.slot, table.group(answer).quotes)
    except (KeyError, BodyError):  # a stranger may quote anything
        return False
    return True


def inputs(table: Table, stage: int, reader: bytes, slots: int) -> Plan:
    """The groups that `reader` plays in a stage: at most `slots`.

    Who reads or solves what others made takes it in the order of the lottery, and its own only
    when there is nothing else. A reviser keeps its own answer slots.
    """
    rules = table.game.stages[stage]
    if rules.inputs in ("task", "family"):
        return [(slot, ()) for slot in range(slots)]
    found = sources(table, stage)
    own = [quote for quote in found if table.header(quote).author == reader]
    if rules.inputs not in FROM_OTHERS:
        kept = sorted(own, key=lambda quote: quote.slot)[:slots]
        return [(q.slot, (q, *heard(table, stage, reader, q))) for q in kept]
    others = [quote for quote in found if quote not in own]
    chosen: dict[object, Quote] = {}
    for quote in rank(table.lottery, reader, table.game.first_turn(stage), others or own):
        # Two proposals may be the same task; two answers to it are two things to read.
        about = place(table, reader, stage, 0, (quote,)) if rules.inputs == "proposals" else quote
        chosen.setdefault(about, quote)
    taken = list(chosen.values())[:slots]
    return [(s, (q, *heard(table, stage, reader, q))) for s, q in enumerate(taken)]


def heard(table: Table, stage: int, reader: bytes, answer: Quote) -> list[Quote]:
    """What else `reader` is shown beside an answer: critiques, one a critic, or arguments, one a
    turn and side; those of the lottery's choice among what is held, never its own."""
    rules = table.game.stages[stage]
    if rules.inputs == "critiques":
        chosen: dict[object, Quote] = {}
        for quote in _about(table, stage, reader, answer, sides=False):
            chosen.setdefault(table.header(quote).author, quote)
        return list(chosen.values())[: table.game.critics]
    if rules.inputs == "arguments":
        found: dict[tuple[int, bool], Quote] = {}
        for quote in _about(table, stage, reader, answer, sides=True):
            header = table.header(quote)
            found.setdefault((header.stage, side(table.lottery, header.author, answer)), quote)
        return [found[key] for key in _wanted(table, reader, stage, answer) if key in found]
    return []


def _about(table: Table, stage: int, reader: bytes, answer: Quote, *, sides: bool) -> list[Quote]:
    """Readings of an answer by others, in the order in which `reader` must take them."""
    about = [
        quote
        for quote in table.quotable(*READING, sides=sides)
        if table.group(quote).quotes[0] == answer
        and (table.header(quote).author != reader or not sides)
    ]
    return rank(table.lottery, reader, stage, about)
