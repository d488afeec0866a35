"""All figures of a study, by name. In: a `Study`. Out: figures of the whole, of each store, of each pair."""

from collections.abc import Iterator

from mobile_vla.analysis.account import Account
from mobile_vla.analysis.figures.actions import draw_action_error, draw_effects, draw_tokens
from mobile_vla.analysis.figures.course import draw_course
from mobile_vla.analysis.figures.decoding import draw_decoding
from mobile_vla.analysis.figures.maps import draw_layers, draw_map, draw_spectra
from mobile_vla.analysis.figures.pairs import draw_comparison
from mobile_vla.analysis.figures.power import draw_power, load_power
from mobile_vla.analysis.figures.style import Drawn
from mobile_vla.analysis.figures.verdicts import draw_verdicts
from mobile_vla.analysis.study import Pairing, Study

Named = tuple[str, Drawn]


def draw_study(study: Study) -> Iterator[Named]:
    """Names are `<figure>`, `<store>/<figure>` and `<store>-<other>/<figure>`; one is drawn when it is asked for."""
    accounts = study.titled
    yield "verdicts", draw_verdicts({name: one.judgement for name, one in accounts.items()})
    yield "spectra", draw_spectra({name: one.judgement.description for name, one in accounts.items()})
    for name, account in accounts.items():
        for figure, drawn in _draw_account(account):
            yield f"{name}/{figure}", drawn
    for pairing in study.pairings:
        for figure, drawn in _draw_pairing(pairing):
            yield f"{pairing.title}/{figure}", drawn
    yield "power", draw_power(load_power())


def _draw_account(account: Account) -> Iterator[Named]:
    judgement, name = account.judgement, account.subject.called
    yield from draw_decoding(judgement)
    if not isinstance(account.error, str):
        yield "action_error", draw_action_error(account.error)
    for figure, drawn in (("effects", draw_effects(account.effects)), ("tokens", draw_tokens(account.effects))):
        if drawn is not None:
            yield figure, drawn
    if account.layers is not None:
        yield "layers", draw_layers(account.layers, name, name)
    if account.map is not None:
        label = next(iter(judgement.primary), None)
        yield "map", draw_map(account.map, judgement.sample, label)
    if account.course is not None:
        yield "course", draw_course(account.course)


def _draw_pairing(pairing: Pairing) -> Iterator[Named]:
    drawn = draw_comparison(pairing.comparison)
    if drawn is not None:
        yield "measures", drawn
    if pairing.layers is not None:
        yield "layers", draw_layers(pairing.layers, *pairing.names)
