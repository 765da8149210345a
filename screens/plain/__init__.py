"""The wizard in lines of text: the same questions, words and plan as the screens."""
