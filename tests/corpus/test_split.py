"""The held-out split: a share of each group, the same whatever the order, and mostly the same as the corpus grows."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.comparison.settings import HeldoutSettings
from fromscratch.corpus.comparison.split import HeldoutChoice


def documents(*groups: tuple[str, int]) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    names = [name for name, count in groups for _ in range(count)]
    ids = [hashlib.sha256(f"{place} {name}".encode()).hexdigest()[:16] for place, name in enumerate(names)]
    return np.array(ids, object), np.array(names, object)


def choose_heldout(
    ids: NDArray[np.object_], groups: NDArray[np.object_], settings: HeldoutSettings, at_a_time: int = 10**6
) -> NDArray[np.bool_]:
    choice = HeldoutChoice(settings)
    for start in range(0, len(ids), at_a_time):
        choice.add(ids[start : start + at_a_time], groups[start : start + at_a_time])
    chosen = {each for group in choice.chosen().values() for each in group}
    return np.array([each in chosen for each in ids], bool)


def test_each_group_gives_its_share() -> None:
    ids, groups = documents(("en/web", 3000), ("zh/books", 1000))
    heldout = choose_heldout(ids, groups, HeldoutSettings(share=0.02))
    assert heldout[groups == "en/web"].sum() == 60
    assert heldout[groups == "zh/books"].sum() == 20


def test_small_groups_give_the_least_but_never_more_than_a_tenth() -> None:
    settings = HeldoutSettings(share=0.01, least_documents=5)
    for count, expected in ((200, 5), (60, 5), (40, 4), (10, 1), (9, 0), (1, 0)):
        assert choose_heldout(*documents(("zh/chat", count)), settings).sum() == expected, count


def test_large_groups_give_no_more_than_the_most() -> None:
    settings = HeldoutSettings(share=0.1, most_documents=50)
    assert choose_heldout(*documents(("en/web", 5000)), settings).sum() == 50


def test_a_larger_share_than_a_tenth_can_be_asked_for() -> None:
    assert choose_heldout(*documents(("en/web", 100)), HeldoutSettings(share=0.3)).sum() == 30


def test_a_share_of_zero_holds_out_nothing() -> None:
    assert not choose_heldout(*documents(("en/web", 1000)), HeldoutSettings(share=0)).any()


def test_the_choice_does_not_depend_on_the_order() -> None:
    ids, groups = documents(("en/web", 500), ("code/code", 500))
    order = np.random.default_rng(0).permutation(len(ids))
    heldout = choose_heldout(ids, groups, HeldoutSettings(share=0.05))
    shuffled = choose_heldout(ids[order], groups[order], HeldoutSettings(share=0.05))
    assert set(ids[heldout]) == set(ids[order][shuffled])


def test_most_of_the_choice_stays_when_documents_are_added() -> None:
    ids, groups = documents(("en/web", 2000))
    before = set(ids[:1500][choose_heldout(ids[:1500], groups[:1500], HeldoutSettings(share=0.1))])
    after = set(ids[choose_heldout(ids, groups, HeldoutSettings(share=0.1))])
    assert len(before & after) > 0.85 * len(before)


def test_no_documents_are_no_split() -> None:
    assert choose_heldout(*documents(), HeldoutSettings()).tolist() == []


def test_documents_that_come_in_parts_are_chosen_as_if_they_came_at_once() -> None:
    settings = HeldoutSettings(share=0.1, most_documents=30)
    ids, groups = documents(("en/web", 900), ("zh/books", 100), ("en/books", 7))
    whole = choose_heldout(ids, groups, settings)
    assert whole.sum() == 30 + 10
    assert (choose_heldout(ids, groups, settings, at_a_time=64) == whole).all()
