"""Log-probabilities that `transformers` of any version gives: run with its Python, without this project.

`python read_transformers.py MODEL REQUEST RESULT`: MODEL is a folder or a GGUF file; REQUEST is JSON with `passages`
(lists of ids), `positions` (how many last ones of each are asked for), `texts`, and `attention` (`eager` for the plain
one). Writes RESULT.npy [passage,
position, vocabulary] in fp32 and RESULT.json with the ids of the texts.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(model: str, request_file: str, result: str) -> None:
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    place = Path(model)
    gguf = {"gguf_file": place.name} if place.is_file() else {}
    attention = {"attn_implementation": request["attention"]} if request.get("attention") else {}
    folder = str(place.parent if gguf else place)
    loaded = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32, **attention, **gguf).eval()
    rows = []
    with torch.inference_mode():
        for ids in request["passages"]:
            logits = loaded(torch.tensor([ids])).logits[0, -request["positions"] :]
            rows.append(logits.double().log_softmax(-1).float().numpy())
    np.save(f"{result}.npy", np.stack(rows))
    texts = request["texts"]
    cutters = [AutoTokenizer.from_pretrained(folder, use_fast=fast, **gguf) for fast in (True, False) if texts]
    ids = [[cut(text, add_special_tokens=False)["input_ids"] for text in texts] for cut in cutters] or [[], []]
    told = {
        "version": f"transformers {transformers.__version__}",
        "class": type(loaded).__name__,
        "ids": ids[0],
        "slow_ids": ids[1],
    }
    Path(f"{result}.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
