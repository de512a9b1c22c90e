"""How a reader loads the release, in the words that the card and the report show."""

__all__ = ["chat_snippet"]


def chat_snippet(folder: str) -> str:
    """Python that loads the model folder with plain `transformers` and asks one question."""
    return f'''\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}")
model = AutoModelForCausalLM.from_pretrained("{folder}")

messages = [{{"role": "user", "content": "What is a river?"}}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**prompt)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
'''
