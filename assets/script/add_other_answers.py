def add_other_answers(rows, batch_size):
    """Add to each row the answer of another row of its batch, which shows how far the model moved."""
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        last = batch[-1] if len(batch) > 1 else rows[start - 1]
        for row, other in zip(batch, [last, *batch[:-1]], strict=True):
            row["KL_completion_ids"] = other["completion_ids"]
