"""Log-probabilities that vLLM gives on a CPU: run with the Python of its own environment, without this project.

`python read_vllm.py FOLDER REQUEST RESULT`, with files as `read_transformers.py` has them.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

import numpy as np
import vllm


def main(model: str, request_file: str, result: str) -> None:
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    longest = max(map(len, request["passages"]))
    engine = vllm.LLM(
        model, dtype="float32", max_model_len=longest + 1, enforce_eager=True, max_logprobs=-1, disable_log_stats=True
    )
    rows = []
    for ids in request["passages"]:
        # The token after the last one is sampled, and the row of position i is that of the token at i + 1.
        asked = vllm.SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=-1, logprobs=-1)
        answer = engine.generate([{"prompt_token_ids": ids}], asked, use_tqdm=False)[0]
        listed = [*answer.prompt_logprobs[1:], answer.outputs[0].logprobs[0]][-request["positions"] :]
        rows.append([_row(each) for each in listed])
    np.save(f"{result}.npy", np.array(rows, np.float32))
    tokenizer = engine.get_tokenizer()
    told = {
        "version": f"vLLM {vllm.__version__}",
        "ids": [tokenizer(text, add_special_tokens=False)["input_ids"] for text in request["texts"]],
    }
    Path(f"{result}.json").write_text(json.dumps(told), encoding="utf-8")


def _row(listed: dict) -> np.ndarray:
    row = np.empty(len(listed), np.float32)
    for number, each in listed.items():
        row[number] = each.logprob
    return row


if __name__ == "__main__":
    main(*sys.argv[1:])
