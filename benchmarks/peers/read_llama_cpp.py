"""Log-probabilities that llama.cpp gives: run with the Python of an environment with `xllamacpp`, without this project.

`python read_llama_cpp.py FILE.gguf REQUEST RESULT`, with files as `read_transformers.py` has them. Keys and values are
kept in fp32 and attention is the plain one, so that what differs is the weights' form alone.
"""

import importlib.metadata
import json
import sys
import urllib.request
from pathlib import Path

import numpy as np
import xllamacpp


def main(model: str, request_file: str, result: str) -> None:
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    settings = xllamacpp.CommonParams()
    settings.model.path = model
    settings.n_ctx = max([256, *map(len, request["passages"])]) + 8
    settings.n_parallel = 1
    settings.warmup = False
    settings.verbosity = 0
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    server = xllamacpp.Server(settings)
    passages = request["passages"]
    first = request["positions"]
    # A token that is half a character or an end has no answer, so a letter is drawn; what is told is before that bias.
    letter = _post(server, "/tokenize", {"content": "a"})["tokens"][-1]
    rows = [[_ask(server, ids[: len(ids) - first + 1 + at], letter) for at in range(first)] for ids in passages]
    np.save(f"{result}.npy", np.array(rows, np.float32))
    told = {
        "version": f"llama.cpp (xllamacpp {importlib.metadata.version('xllamacpp')})",
        "ids": [_post(server, "/tokenize", {"content": text})["tokens"] for text in request["texts"]],
    }
    Path(f"{result}.json").write_text(json.dumps(told), encoding="utf-8")


def _ask(server: xllamacpp.Server, ids: list[int], drawn: int) -> np.ndarray:
    """Log-probabilities of all tokens after these."""
    asked = {"prompt": ids, "n_predict": 1, "n_probs": 1 << 20, "samplers": [], "cache_prompt": True}
    asked["logit_bias"] = [[drawn, 1e6]]
    listed = _post(server, "/completion", asked)["completion_probabilities"][0]["top_logprobs"]
    row = np.empty(len(listed), np.float32)
    for each in listed:
        row[each["id"]] = each["logprob"]
    return row


def _post(server: xllamacpp.Server, path: str, body: dict) -> dict:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())


if __name__ == "__main__":
    main(*sys.argv[1:])
