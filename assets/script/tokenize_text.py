def tokenize_text(tokenizer, row, end_ids):
    """Return the tokens of a text and the end of text; all but the first count."""
    ids = tokenizer(row["text"])["input_ids"]
    ids = ids if ids[-1:] == [tokenizer.eos_token_id] else [*ids, tokenizer.eos_token_id]
    return {"input_ids": ids, "labels": [-100, *ids[1:]]}
