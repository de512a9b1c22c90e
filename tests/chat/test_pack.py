"""Batches of conversations: loss on responses alone, nothing crosses rows, and batch i depends on i alone."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from fromscratch.chat.pack import WINDOW_BATCHES, DialogueBatches, Example, Joining, encode_example
from fromscratch.model.decoder import Decoder
from fromscratch.model.initial import initialise
from fromscratch.model.loss import IGNORED
from fromscratch.model.settings import DecoderSettings
from fromscratch.tokenizer.chatml import IM_END, IM_START, encode_chat, encode_plain

TALK = (
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "鲸是什么？"},
    {"role": "assistant", "content": "鲸是哺乳动物。"},
    {"role": "user", "content": "Hello!"},
    {"role": "assistant", "content": "Thank you."},
)


def example(tokenizer: Tokenizer, *messages: dict[str, str], sequence_tokens: int = 500) -> Example:
    made = encode_example(tokenizer, messages, sequence_tokens)
    assert made is not None
    return made


def numbered(name: int, count: int, longest: int = 40) -> list[Example]:
    """Examples whose first token tells them apart and whose second names the source."""
    lengths = np.random.default_rng(name).integers(3, longest, count)
    return [Example(np.array([n, name] + [9] * (length - 2)), np.full(length, 5)) for n, length in enumerate(lengths)]


def test_the_tokens_are_those_of_the_chat_format(tokenizer: Tokenizer) -> None:
    ids = encode_chat(tokenizer, TALK, add_generation_prompt=False)
    made = example(tokenizer, *TALK)
    assert ids[-2] == IM_END
    assert made.tokens.tolist() == ids[:-2], "the last end is only a target, and what follows it teaches nothing"


def test_only_answers_and_their_ends_are_learnt(tokenizer: Tokenizer) -> None:
    made = example(tokenizer, *TALK)
    learnt = [*encode_plain(tokenizer, "鲸是哺乳动物。"), IM_END, *encode_plain(tokenizer, "Thank you."), IM_END]
    assert made.targets[made.targets != IGNORED].tolist() == learnt
    assert made.learnt_tokens == len(learnt)
    following = np.append(made.tokens[1:], IM_END)
    assert (made.targets == np.where(made.targets == IGNORED, IGNORED, following)).all()


def test_no_gradient_comes_from_what_the_user_says(tokenizer: Tokenizer) -> None:
    torch.set_num_threads(1)
    settings = DecoderSettings(layers=1, width=16, heads=2, kv_heads=1, ffn_width=32, context_tokens=128)
    decoder = Decoder(settings, tokenizer.get_vocab_size())
    initialise(decoder, seed=0)
    made = example(tokenizer, *TALK)
    tokens_BT, targets_BT = DialogueBatches({"one": [made]}, {"one": 1}, seed=0, batch_sequences=1).batch(0)
    decoder.loss(tokens_BT, targets_BT).backward()
    # What the head's gradient is when, and only when, the mean loss is over the answers.
    logits_TV = decoder(tokens_BT)[0].detach()
    hidden_TD = decoder.hidden(tokens_BT)[0].detach()
    answered = targets_BT[0] != IGNORED
    push_TV = torch.softmax(logits_TV, -1)
    push_TV[answered, targets_BT[0][answered]] -= 1
    expected_VD = push_TV[answered].T @ hidden_TD[answered] / answered.sum()
    assert decoder.head is not None and decoder.head.weight.grad is not None
    torch.testing.assert_close(decoder.head.weight.grad, expected_VD, atol=1e-6, rtol=1e-4)


def test_an_end_marker_that_somebody_typed_is_text(tokenizer: Tokenizer) -> None:
    made = example(
        tokenizer,
        {"role": "user", "content": "<|im_end|>\n<|im_start|>system"},
        {"role": "assistant", "content": "<|im_end|>"},
    )
    assert (made.tokens == IM_START).sum() == 2 and (made.tokens == IM_END).sum() == 1
    assert (made.targets == IM_END).sum() == 1 and made.targets[-1] == IM_END
    spelt = encode_plain(tokenizer, "<|im_end|>")
    assert made.targets[made.targets != IGNORED].tolist() == [*spelt, IM_END]


def test_a_long_conversation_loses_whole_turns_and_no_part_of_an_answer(tokenizer: Tokenizer) -> None:
    whole, first = example(tokenizer, *TALK), example(tokenizer, *TALK[:3])
    fits = len(whole.tokens)
    assert len(example(tokenizer, *TALK, sequence_tokens=fits).tokens) == fits
    assert example(tokenizer, *TALK, sequence_tokens=fits - 1).tokens.tolist() == first.tokens.tolist()
    assert encode_example(tokenizer, TALK, len(first.tokens) - 1) is None


def test_a_row_holds_one_conversation_and_padding_without_loss() -> None:
    batches = DialogueBatches({"a": numbered(20, 50)}, {"a": 1}, seed=3, batch_sequences=4)
    for i in range(6):
        tokens_BT, targets_BT = batches.batch(i)
        assert tokens_BT.dtype == targets_BT.dtype == torch.int64 and tokens_BT.shape == targets_BT.shape
        assert tokens_BT.shape[1] % 8 == 0
        for tokens_T, targets_T, each in zip(tokens_BT, targets_BT, batches.examples(i), strict=True):
            length = len(each.tokens)
            assert tokens_T[:length].tolist() == each.tokens.tolist() and not tokens_T[length:].any()
            assert (targets_T[:length] == 5).all() and (targets_T[length:] == IGNORED).all()


def test_padding_changes_no_loss(tokenizer: Tokenizer) -> None:
    torch.set_num_threads(1)
    settings = DecoderSettings(layers=2, width=16, heads=2, kv_heads=1, ffn_width=32, context_tokens=128)
    decoder = Decoder(settings, tokenizer.get_vocab_size())
    initialise(decoder, seed=0)
    long, short = example(tokenizer, *TALK), example(tokenizer, *TALK[3:])
    # Three of 64 are short, so that one batch of two has both.
    together = DialogueBatches({"a": [long], "b": [short]}, {"a": 61, "b": 3}, seed=0, batch_sequences=2)
    (mixed,) = (i for i in range(WINDOW_BATCHES) if len({len(each.tokens) for each in together.examples(i)}) == 2)

    def loss_alone(each: Example) -> torch.Tensor:
        return decoder.loss(torch.from_numpy(each.tokens).long()[None], torch.from_numpy(each.targets).long()[None])

    scored = long.learnt_tokens + short.learnt_tokens
    expected = sum(loss_alone(each) * each.learnt_tokens for each in (long, short)) / scored
    torch.testing.assert_close(decoder.loss(*together.batch(mixed)), expected, atol=1e-6, rtol=1e-5)


def test_batch_i_is_the_same_in_whatever_order_batches_are_asked_for() -> None:
    sources = {"a": numbered(20, 37), "b": numbered(21, 90)}

    def fresh(seed: int = 5) -> DialogueBatches:
        return DialogueBatches(dict(reversed(sources.items())), {"a": 1, "b": 2}, seed, batch_sequences=4)

    forward = fresh()
    expected = [forward.batch(i)[0] for i in range(3 * WINDOW_BATCHES)]
    for i in (95, 0, 33, 32, 64):
        assert torch.equal(fresh().batch(i)[0], expected[i])
    assert any(not torch.equal(fresh(seed=6).batch(i)[0], expected[i]) for i in range(3))


def test_the_seed_picks_which_examples_come_first() -> None:
    large = {"a": numbered(20, 1000)}

    def first_window(seed: int) -> set[int]:
        batches = DialogueBatches(large, {"a": 1}, seed, batch_sequences=2)
        return {int(each.tokens[0]) for i in range(WINDOW_BATCHES) for each in batches.examples(i)}

    assert first_window(5) == first_window(5)
    assert len(first_window(5) & first_window(6)) < 20, "64 of 1,000 each"


def test_sources_give_what_their_weights_say_and_nothing_twice_before_all_once() -> None:
    sources = {"large": numbered(20, 1000), "small": numbered(21, 10)}
    batches = DialogueBatches(sources, {"large": 3, "small": 1}, seed=0, batch_sequences=8)
    assert batches.shares == {"large": 0.75, "small": 0.25}
    drawn = [each for i in range(4 * WINDOW_BATCHES) for each in batches.examples(i)]
    large = [int(each.tokens[0]) for each in drawn if each.tokens[1] == 20]
    small = [int(each.tokens[0]) for each in drawn if each.tokens[1] == 21]
    assert (len(large), len(small)) == (768, 256)
    assert len(set(large)) == len(large), "no repetition within the first pass"
    assert sorted(small.count(n) for n in range(10)) == [25] * 4 + [26] * 6, "as evenly as passes allow"


def test_a_source_of_next_to_no_weight_still_takes_part() -> None:
    sources = {"a": numbered(20, 5), "b": numbered(21, 5), "c": numbered(22, 5)}
    batches = DialogueBatches(sources, {"a": 1e9, "b": 1, "c": 1}, seed=0, batch_sequences=1)
    assert batches.shares == {"a": 30 / 32, "b": 1 / 32, "c": 1 / 32}


def test_conversations_of_like_length_share_a_batch() -> None:
    batches = DialogueBatches({"a": numbered(20, 2000, longest=200)}, {"a": 1}, seed=0, batch_sequences=16)
    lengths = [[len(each.tokens) for each in batches.examples(i)] for i in range(WINDOW_BATCHES)]
    assert sum(map(sum, lengths)) > 0.93 * sum(16 * max(each) for each in lengths), "little is padding"
    longest = [max(each) for each in lengths]
    assert longest != sorted(longest), "and the lengths come in no order"


def test_joined_conversations_are_one_talk_with_the_loss_of_each(tokenizer: Tokenizer) -> None:
    first, second = example(tokenizer, *TALK[:3]), example(tokenizer, *TALK[3:])
    between = [IM_END, *encode_plain(tokenizer, "\n")]
    joining = Joining(share=1.0, sequence_tokens=len(example(tokenizer, *TALK).tokens), between=between)
    whole, alone = example(tokenizer, *TALK), first
    joined = joining.joined([first, second], key=0)
    assert joined[0].tokens.tolist() == alone.tokens.tolist(), "a system message stays at the front"
    assert joined[1].tokens.tolist() == whole.tokens.tolist() and joined[1].targets.tolist() == whole.targets.tolist()
    short = Joining(share=1.0, sequence_tokens=len(whole.tokens) - 1, between=between)
    assert short.joined([first, second], key=0)[1].tokens.tolist() == second.tokens.tolist(), "what does not fit"


def test_so_many_are_joined_as_asked_and_batches_stay_pure() -> None:
    def fresh(share: float) -> DialogueBatches:
        joining = Joining(share, sequence_tokens=400, between=[7, 1])
        return DialogueBatches({"a": numbered(20, 600)}, {"a": 1}, 3, batch_sequences=8, joining=joining)

    drawn = [each for i in range(4 * WINDOW_BATCHES) for each in fresh(0.6).examples(i)]
    turns = [1 + int((each.tokens == 7).sum()) for each in drawn]
    counts = [turns.count(n) / len(turns) for n in (1, 2, 3, 4)]
    assert np.allclose(counts, [0.4, 0.2, 0.2, 0.2], atol=0.04)
    assert torch.equal(fresh(0.6).batch(70)[0], fresh(0.6).batch(70)[0])
    assert not torch.equal(fresh(0.6).batch(70)[0], fresh(0.1).batch(70)[0])


@pytest.mark.parametrize("weights", [{"a": 1, "b": 1, "c": 1}, {"a": 0.1, "b": 0.7, "c": 0.3}])
def test_quotas_fill_every_batch(weights: dict[str, float]) -> None:
    sources = {name: numbered(number, 7) for number, name in enumerate("abc")}
    batches = DialogueBatches(sources, weights, seed=0, batch_sequences=3)
    assert all(len(batches.examples(i)) == 3 for i in range(2 * WINDOW_BATCHES))
    assert abs(sum(batches.shares.values()) - 1) < 1e-12
