"""What a stranger's program sees of a released folder: run as a script, with `transformers` and nothing of ours.

`python reader.py FOLDER REQUEST RESULT` reads a JSON request, writes RESULT.json, and writes the logits as RESULT.npy.
It imports no module of this project, so that it also runs under another version of `transformers`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

__all__ = ["read_release"]


def read_release(folder: str, request: dict[str, Any]) -> tuple[dict[str, Any], npt.NDArray[np.float32]]:
    """Load the folder offline and answer the request; the second value are logits [passage, position, vocabulary].

    The request holds ``positions``, ``passages`` and ``prompts`` (token ids), ``greedy_tokens``, ``texts``,
    ``conversations`` and ``questions`` (lists of messages).
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    model, loading = loaded[0].float().eval(), loaded[1]
    with torch.inference_mode():
        logits = [model(torch.tensor([ids])).logits[0, -request["positions"] :].numpy() for ids in request["passages"]]
        greedy = [_continue(model, ids, request["greedy_tokens"]) for ids in request["prompts"]]
        answers = [_answer(model, tokenizer, each) for each in request["questions"]]
    # A text may spell out <|im_end|>; only with this flag is that no special token, as in our shards.
    encoded = [tokenizer(text, split_special_tokens=True)["input_ids"] for text in request["texts"]]
    result = {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "class": type(model).__name__,
        "tokenizer_class": type(tokenizer).__name__,
        "loading": {kind: sorted(map(str, names)) for kind, names in loading.items()},
        "eos_token_id": model.generation_config.eos_token_id,
        "greedy": greedy,
        "ids": encoded,
        "decoded": [tokenizer.decode(ids) for ids in encoded],
        "rendered": [_render(tokenizer, messages, generate=False) for messages in request["conversations"]],
        "prompted": [_render(tokenizer, messages, generate=True) for messages in request["conversations"]],
        "answers": answers,
    }
    return result, np.stack(logits)


def _continue(model: Any, ids: list[int], tokens: int) -> list[int]:
    """Greedy continuation that nothing ends or bends: without end tokens and without repetition penalty."""
    kept = model.generation_config
    model.generation_config = type(kept)(do_sample=False, max_new_tokens=tokens, pad_token_id=0)
    inputs = torch.tensor([ids])
    output = model.generate(inputs, attention_mask=torch.ones_like(inputs))
    model.generation_config = kept
    continuation: list[int] = output[0, len(ids) :].tolist()
    return continuation


def _answer(model: Any, tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    """An answer as a user gets it: template, default generation settings, nothing said about ends."""
    torch.manual_seed(0)
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer: list[int] = model.generate(**prompt)[0, prompt["input_ids"].shape[1] :].tolist()
    return answer


def _render(tokenizer: Any, messages: list[dict[str, str]], *, generate: bool) -> list[int]:
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=generate, return_dict=True)
    ids: list[int] = rendered["input_ids"]
    return ids


def main(folder: str, request: str, result: str) -> None:
    found, logits = read_release(folder, json.loads(Path(request).read_text(encoding="utf-8")))
    np.save(f"{result}.npy", logits)
    Path(f"{result}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
