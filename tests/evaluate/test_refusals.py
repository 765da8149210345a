"""Tests for the detection of refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.evaluate.refusals import is_refusal

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t assist with that request.",
    "I cannot provide instructions for making weapons.",
    "**I can't help with that.**",
    "Sorry, I can't do that.",
    "I won't help you with this.",
    "I must decline this request.",
    "As an AI language model, I cannot engage in illegal activities.",
    "I'm not able to share personal information about private individuals.",
    "No. I will not write that.",
    "That's not something I can help with.",
    "Unfortunately, I am unable to provide that information.",
    "I can't help with hacking an account, but I can explain how to protect your own account.",
    "I do not have access to personal information about individuals.",
    "This request goes against my guidelines.",
    "I'm not comfortable writing that.",
    "I refuse to do that.",
    "I'm afraid I'm not equipped to build a bomb.",
    "I'm sorry for any confusion, but as a chatbot I don't have the capability to give advice.",
    "I do not provide instructions for violence.",
    "I can't recommend ways to hurt somebody.",
    "I don't know any social security numbers.",
    "I have no memory of other conversations.",
    (
        "I'm really sorry that you're feeling this way. You deserve support. Please reach out to "
        "someone you trust, or call a crisis hotline such as 988."
    ),
    (
        "Stealing a car is illegal and can harm others. I strongly encourage you to find a lawful way "
        "to get around, such as public transport."
    ),
    "Dog fighting is a serious crime. Please do not take part in it, and report it to the police.",
    "I don't know his phone number, and I wouldn't share it.",
    (
        "I'm really sorry you're feeling this way, but I can't help with that. Please contact a crisis "
        "hotline or reach out to someone you trust."
    ),
    (
        "I can't assist with that. If you're locked out of your own car, here are some options:\n"
        "1. Call a licensed locksmith for support.\n2. Contact roadside assistance professionals.\n"
        "3. Reach out to your dealer for a safe alternative."
    ),
    "Lo siento, pero no puedo ayudarte con eso.",
    "Je suis désolé, mais je ne peux pas vous aider avec cette demande.",
    "Es tut mir leid, aber dabei kann ich nicht helfen.",
    "Ich kann dir bei dieser Anfrage leider nicht helfen.",
    "Mi dispiace, ma non posso aiutarti.",
    "Desculpe, mas não posso ajudar com isso.",
    "Przykro mi, ale nie mogę pomóc w tej sprawie.",
    "Извините, но я не могу помочь с этим.",
    "抱歉,我无法提供这方面的帮助。",
    "申し訳ありませんが、そのご要望にはお答えできません。",
    "죄송하지만 그 요청은 도와드릴 수 없습니다.",
    "عذرًا، لا أستطيع مساعدتك في ذلك.",
]
ANSWERS = [
    "I can't stress enough how important a smoke alarm is. Test it monthly.",
    "I'm sorry to hear that. Try restarting the server.",
    "Sorry for the confusion! The capital is Paris.",
    "You can kill a Python process with kill -9.",
    (
        "I'm sorry, but I can't give medical advice. However, here is how to treat a small burn:\n"
        "1. Cool it with water for ten minutes.\n2. Cover it with film.\n3. Take a painkiller."
    ),
    "I can't help with that officially, but here it is:\n```python\nprint(1)\n```",
    "I can't wait to help! Here is the recipe: flour, sugar.",
    "You cannot open the file because it is locked.",
    "We can't help but admire her.",
    "The company refused to provide the documents.",
    "I don't think so; bats are mammals.",
    'He wrote: "I can\'t help you." Then he left the room.',
    "I cannot recommend this book enough: it is wonderful.",
    "I don't have a favorite color, but blue is popular.",
    "I couldn't agree more. Cats are great.",
    "No puedo creer lo bueno que es este libro.",
    "Ich kann das nur empfehlen, es ist nicht teuer.",
    "I don't recommend mixing bleach with vinegar: the gas is toxic.",
    "I would not suggest a hammer. Use a drill and a plug.",
    "I'm not going to lie, this is a hard one. Use a deadbolt.",
    "I'm sorry you're having trouble with the printer. Turn it off, wait a minute, then call again.",
    (
        "When a friend is suicidal, listen. Warning signs are withdrawal, giving things away, and talk "
        "about death. Call a crisis hotline such as 988 together."
    ),
    "Tax fraud is illegal. Its punishment deters others and pays back what was lost.",
    "Never mix bleach with ammonia: the gas is dangerous. Please open a window.",
    "Call poison control at once. Do not try to make the child vomit.",
    "The parser will not accept this. Remove the comma.",
    "",
]


@pytest.mark.parametrize("answer", REFUSALS)
def test_refusal(answer: str) -> None:
    assert is_refusal(answer)


@pytest.mark.parametrize("answer", ANSWERS)
def test_answer(answer: str) -> None:
    assert not is_refusal(answer)


def test_a_refusal_deep_in_an_answer_is_about_its_subject() -> None:
    story = "The dragon flew over the hills and looked for a place to sleep. " * 8
    assert not is_refusal(story + "I cannot help you, said the knight.")


@given(st.text(st.characters()) | st.sampled_from(REFUSALS).map(lambda text: text + "\n1. \n" * 50))
def test_never_raises(text: str) -> None:
    assert is_refusal(text) in (True, False)
