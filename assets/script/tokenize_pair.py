def tokenize_pair(tokenizer, row, end_ids):
    """Return the tokens of a prompt, its completion and the end of text; the prompt has no labels."""
    prompt = tokenizer(row["prompt"])["input_ids"]
    prompt = prompt[:-1] if prompt[-1:] == [tokenizer.eos_token_id] else prompt
    # Tokenized apart from the prompt, so that no token spans both.
    completion = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
    completion = [*completion, tokenizer.eos_token_id]
    return {"input_ids": prompt + completion, "labels": [-100] * len(prompt) + completion}
