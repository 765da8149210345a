def tokenize_conversation(tokenizer, row, end_ids):
    """Return the tokens of a conversation, and labels: -100 where a token does not count."""
    messages = [{k: v for k, v in m.items() if k != "weight"} for m in row["messages"]]

    def render(part, **options):
        return tokenizer.apply_chat_template(
            part, tools=row.get("tools"), tokenize=False, **options
        )

    text = tokenizer(render(messages), add_special_tokens=False, return_offsets_mapping=True)
    ids, labels = text["input_ids"], [-100] * len(text["input_ids"])
    for index, message in enumerate(row["messages"]):
        if message["role"] != "assistant" or not message.get("weight", 1):
            continue
        start = len(render(messages[:index], add_generation_prompt=True))
        end = len(render(messages[: index + 1]))
        answer = [n for n, (a, b) in enumerate(text["offset_mapping"]) if b > start and a < end]
        # What the template adds after the end token, usually a line break, does not count.
        last = max((n for n in answer if ids[n] in end_ids), default=len(ids))
        for n in answer:
            labels[n] = ids[n] if n <= last else -100
    return {"input_ids": ids, "labels": labels}
