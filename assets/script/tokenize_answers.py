def tokenize_answers(tokenize, tokenizer, row, end_ids, max_length):
    """Return the tokens of a prompt, and of each answer to it up to its end token."""
    columns = {"label": row["label"]} if "label" in row else {}
    for name in [name for name in ("chosen", "rejected", "completion") if name in row]:
        whole = {**row, "messages": row["prompt"] + row[name], "completion": row[name]}
        tokens = tokenize(tokenizer, whole, end_ids)
        ids, labels = tokens["input_ids"][:max_length], tokens["labels"][:max_length]
        counted = [n for n, label in enumerate(labels) if label != -100]
        columns["prompt_ids"] = ids[: counted[0]]
        columns[f"{name}_ids"] = ids[counted[0] : counted[-1] + 1]
    return columns
