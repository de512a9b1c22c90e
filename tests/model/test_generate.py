"""Generation: the cache changes nothing, seeds decide, limits hold, and greedy agrees with `transformers`."""

import itertools
from collections.abc import Sequence

import pytest
import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from fromscratch.core.errors import FromScratchError
from fromscratch.model.cache import KeyValueCache
from fromscratch.model.decoder import Decoder
from fromscratch.model.generate import generate, generate_batch
from fromscratch.model.sampling import adjusted, draw
from fromscratch.model.settings import Sampling

from .conftest import VOCABULARY, peer_of, recollections, small_decoder, trained_decoder

GREEDY = Sampling(temperature=0, max_tokens=64)
FREE = Sampling(temperature=1.0, top_p=None, max_tokens=24)
NO_STOP: frozenset[int] = frozenset()


@pytest.fixture(scope="module")
def trained() -> Decoder:
    return trained_decoder()


def recomputed(decoder: Decoder, prompt: Sequence[int], tokens: int) -> list[int]:
    """Greedy continuation in which every step reads the whole sequence again."""
    sequence = list(prompt)
    for _ in range(tokens):
        sequence.append(int(decoder(torch.tensor([sequence]))[0, -1].argmax()))
    return sequence[len(prompt) :]


def test_reading_in_pieces_gives_the_logits_of_reading_at_once(trained: Decoder) -> None:
    tokens_BT, _ = recollections(2, 60, seed=5)
    cache = KeyValueCache(trained.settings, 2, 60, torch.float32, torch.device("cpu"))
    pieces = [trained(piece_BT, cache) for piece_BT in tokens_BT.split([20, 1, 1, 30, 8], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), trained(tokens_BT), atol=1e-5, rtol=1e-5)


def test_rows_of_a_cache_may_stand_at_different_positions(trained: Decoder) -> None:
    tokens_BT, _ = recollections(2, 30, seed=5)
    cache = KeyValueCache(trained.settings, 2, 40, torch.float32, torch.device("cpu"))
    trained(tokens_BT, cache)
    cache.lengths_B = torch.tensor([30, 12])  # the second row was padding from there on
    next_BT = torch.tensor([[3, 4], [5, 6]])
    logits_BTV = trained(next_BT, cache)
    for row, length in enumerate((30, 12)):
        alone_BT = torch.cat([tokens_BT[row : row + 1, :length], next_BT[row : row + 1]], 1)
        torch.testing.assert_close(logits_BTV[row], trained(alone_BT)[0, length:], atol=1e-5, rtol=1e-5)


def test_greedy_generation_equals_full_recomputation_and_transformers_for_64_tokens(trained: Decoder) -> None:
    prompt = recollections(1, 9, seed=3)[0][0].tolist()
    ours = list(generate(trained, prompt, sampling=GREEDY, stop=NO_STOP, seed=0))
    theirs = peer_of(trained).generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt)),
        generation_config=GenerationConfig(max_new_tokens=64, do_sample=False, pad_token_id=0),
    )
    assert len(ours) == 64
    assert ours == recomputed(trained, prompt, 64)
    assert ours == theirs[0, len(prompt) :].tolist()


def test_a_batch_of_prompts_gives_what_each_gives_alone(trained: Decoder) -> None:
    prompts = [recollections(1, length, seed=length)[0][0].tolist() for length in (4, 17, 1, 9)]
    for sampling in (GREEDY, FREE):
        first = list(generate(trained, prompts[0], sampling=sampling, stop=NO_STOP, seed=5))
        stop = frozenset({first[3]})  # so that rows end at different steps
        together = generate_batch(trained, prompts, sampling=sampling, stop=stop, seed=5)
        alone = [
            list(generate(trained, prompt, sampling=sampling, stop=stop, seed=5 + row))
            for row, prompt in enumerate(prompts)
        ]
        assert together == alone
        assert len({len(each) for each in together}) > 1
    assert generate_batch(trained, [], sampling=GREEDY, stop=NO_STOP, seed=0) == []


def test_the_seed_decides_what_is_drawn(trained: Decoder) -> None:
    def drawn(seed: int) -> list[int]:
        return list(generate(trained, [1, 2, 3], sampling=FREE, stop=NO_STOP, seed=seed))

    before = drawn(7)
    torch.manual_seed(0)
    assert drawn(7) == before
    assert drawn(8) != before


def test_generation_ends_before_a_stop_token_and_at_the_limits(trained: Decoder) -> None:
    free = list(generate(trained, [1, 2, 3], sampling=GREEDY, stop=NO_STOP, seed=0))
    stop = free[5]
    assert (
        list(generate(trained, [1, 2, 3], sampling=GREEDY, stop=frozenset({stop}), seed=0)) == free[: free.index(stop)]
    )
    context = trained.settings.context_tokens
    endless = GREEDY.model_copy(update={"max_tokens": 10_000})
    assert len(list(generate(trained, [1, 2, 3], sampling=endless, stop=NO_STOP, seed=0))) == context - 3
    assert len(list(generate(trained, [1] * (context - 1), sampling=endless, stop=NO_STOP, seed=0))) == 1


@pytest.mark.parametrize(
    ("prompt", "message", "hint"),
    [
        ([], "the prompt is empty", "<|startoftext|>"),
        ([1] * 163, "the prompt has 163 tokens, and a context of 160 leaves it no room", "shorten it to 159 tokens"),
        ([1] * 160, "the prompt has 160 tokens, and a context of 160 leaves it no room", "shorten it to 159 tokens"),
        ([1, VOCABULARY], f"the prompt holds token {VOCABULARY}", "tokenizer"),
    ],
)
def test_prompts_that_cannot_be_read_are_refused_at_the_call(prompt: list[int], message: str, hint: str) -> None:
    with pytest.raises(FromScratchError) as caught:
        generate(small_decoder(), prompt, sampling=GREEDY, stop=NO_STOP, seed=0)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_tokens_come_as_they_are_drawn_and_leave_the_callers_gradients_alone(trained: Decoder) -> None:
    stream = generate(trained, [1, 2, 3], sampling=GREEDY, stop=NO_STOP, seed=0)
    assert len(list(itertools.islice(stream, 2))) == 2
    assert not torch.is_inference_mode_enabled()
    assert trained.loss(*recollections(1, 8)).requires_grad


def test_the_repetition_penalty_counts_prompt_and_answer_as_transformers_does(trained: Decoder) -> None:
    prompt = [5, 9, 11, 5]
    penalised = GREEDY.model_copy(update={"repetition_penalty": 1.4})
    ours = list(generate(trained, prompt, sampling=penalised, stop=NO_STOP, seed=0))
    theirs = peer_of(trained).generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt)),
        generation_config=GenerationConfig(max_new_tokens=64, do_sample=False, repetition_penalty=1.4, pad_token_id=0),
    )
    assert ours == theirs[0, len(prompt) :].tolist()
    assert ours != list(generate(trained, prompt, sampling=GREEDY, stop=NO_STOP, seed=0))


@pytest.mark.parametrize("penalty", [0.8, 1.3])
def test_seen_tokens_are_penalised_as_transformers_penalises_them(penalty: float) -> None:
    logits_BV = torch.linspace(-3, 3, VOCABULARY).repeat(2, 1)
    tokens_BT = torch.arange(VOCABULARY).view(2, -1)
    seen_BV = torch.zeros_like(logits_BV, dtype=torch.bool).scatter(1, tokens_BT, True)
    expected_BV = RepetitionPenaltyLogitsProcessor(penalty)(tokens_BT, logits_BV.clone())
    sampling = Sampling(temperature=1, repetition_penalty=penalty, top_p=None)
    torch.testing.assert_close(adjusted(logits_BV, seen_BV, sampling), expected_BV)


@pytest.mark.parametrize("temperature", [0.5, 1.7])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_logits_are_adjusted_as_transformers_adjusts_them(temperature: float, penalty: float) -> None:
    logits_BV = 3 * torch.randn(4, VOCABULARY, generator=torch.Generator().manual_seed(0))
    tokens_BT, _ = recollections(4, 12)
    seen_BV = torch.zeros_like(logits_BV, dtype=torch.bool).scatter(1, tokens_BT, True)
    sampling = Sampling(temperature=temperature, repetition_penalty=penalty, top_k=20, top_p=0.8)
    theirs = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(penalty),
            TemperatureLogitsWarper(temperature),
            TopKLogitsWarper(20),
            TopPLogitsWarper(0.8),
        ]
    )
    expected_BV = theirs(tokens_BT, logits_BV.clone())
    assert 0 < expected_BV.isfinite().sum() < 4 * 20, "top-p cuts within what top-k keeps"
    torch.testing.assert_close(adjusted(logits_BV, seen_BV, sampling), expected_BV)


def test_tokens_are_drawn_as_often_as_the_distribution_says() -> None:
    logits_BV = torch.tensor([[0.5, 0.3, 0.2, 0.0]]).log()
    generators = [torch.Generator().manual_seed(0)]
    plain = Sampling(temperature=1.0, top_p=None)
    drawn = torch.cat([draw(logits_BV, torch.zeros(1, 4, dtype=torch.bool), plain, generators) for _ in range(3000)])
    share_V = drawn.bincount(minlength=4) / len(drawn)
    torch.testing.assert_close(share_V, torch.tensor([0.5, 0.3, 0.2, 0.0]), atol=0.03, rtol=0)
    nucleus = plain.model_copy(update={"top_p": 0.7})
    assert adjusted(logits_BV, torch.zeros(1, 4, dtype=torch.bool), nucleus).isfinite().tolist() == [
        [True, True, False, False]
    ]
