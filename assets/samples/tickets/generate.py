"""Write the "tickets" sample: support tickets and the one-line JSON that routes each of them.

The system line does not say what the answer looks like, so a base model cannot guess it. Rules:
team: who has to act (the bank a problem is in). priority: high when the ticket names a deadline, a
standstill or a danger; low when it is a question or a wish, or says that it can wait; else normal.
refund: true when the customer asks for money back.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from random import Random

Row = dict[str, list[dict[str, str]]]

SYSTEM = "Route this ticket."
SIZES = {"train": 160, "validation": 20, "test": 30}
SEED = 6
LIMIT = 100  # characters in a user text: keeps every row within 70 SmolLM2 tokens
# Each team goes through this cycle: problem told Normally, with High or Low urgency; Question;
# Emergency. Only problems (N, H, L) may come with a request for money.
CYCLE = "NHQNLHNQEL"

# The last sentence of each bank is met in the held-out tickets only.
PROBLEMS = {
    "billing": """I was charged twice for the {item}. | My invoice says {sum} but the site said less
        when I paid. | You took {sum} from my card on {day} and I have no idea what for. | The
        coupon was accepted but I still paid full price. | I cancelled Plus on {day} and {sum} came
        off my card anyway. | Tax was added twice on my bill for the {item}. | I paid {sum} for gift
        wrap that I never ticked. | Your trial was supposed to be free, yet {sum} left my bank. |
        The yearly plan got billed although I picked monthly. | There are two payments of {sum} on
        my statement, same day, same order. | The price of Plus went up by {sum} on my bill with no
        warning. | I got a late fee of {sum} though I paid on {day}. | My gift card was not taken
        off what I paid.""",
    "shipping": """My {item} was due {day} and still has not arrived. | Tracking has said "in
        transit" for nine days. | The {item} came out of the box with a cracked lid. | You sent me a
        {item}, I ordered something else. | The parcel says delivered but nothing is at my door. |
        The box was soaked and the {item} inside is ruined. | The courier left my {item} out in the
        rain. | The {item} you sent is the wrong colour. | My package went back to you and nobody
        told me why. | Delivery was promised for {day}, the driver never showed up. | The box
        arrived open and the charger was gone. | Got somebody else's parcel instead of my {item}. |
        The van drove past and my {item} is back at the depot.""",
    "account": """I can't log in since {day}, it says wrong password. | The password reset email
        never arrives. | My profile shows someone else's name. | Two-factor codes are not reaching
        my phone. | Sign-up says my email is already taken but it's mine. | My membership shows as
        expired, it should run until May. | I changed my email and now I'm shut out of my profile. |
        The login page says my user is suspended, no reason given. | I have been locked out of my
        account since {day}. | The link to verify my email says expired every single time. | New
        phone, and the login still wants a code from the old number. | My wife was removed from our
        family account on {day}. | Your sign-in page does not know my email any more.""",
    "technical": """The app crashes when I add my {item}. | My {item} will not connect to wifi any
        more. | The {item} keeps turning itself off. | Since the update my {item} shows error 7. |
        The app is stuck on the loading screen. | Firmware update stopped half way and the {item} is
        dead. | The {item} won't pair with my phone. | Speaker crackles all the time, even at low
        volume. | My {item} loses its settings every night. | The timer on the {item} ignores what I
        set. | Buttons on the {item} stopped working on {day}. | Alerts from the {item} come hours
        late. | The {item} restarts over and over.""",
}
QUESTIONS = {
    "billing": """Do you take PayPal? | Can you put our company name on future invoices? | What does
        the yearly plan cost for two people? | Where can I download last year's invoices? | Is there
        a student discount on Plus? | Which day of the month does my card get billed? | Could I get
        my invoices as PDF? | Is tax included in the price of the {item}? | Can I pay for a {item}
        in three parts? | Do you have a cheaper plan for charities?""",
    "shipping": """Do you deliver to {city}? | How long does a {item} take to get to {city}? | Can I
        pick up my order at a store instead? | Can you ship a {item} as a gift, without the price? |
        Which courier do you use for {city}? | Do you ship on weekends? | What does delivery cost
        for two {item}s? | Could I choose an evening delivery slot? | Can parcels be left with a
        neighbour? | Is there express delivery to {city}?""",
    "account": """How do I change the email on my profile? | Can I have two users on one account? |
        Is there a way to change my user name? | How can I turn on two-factor login? | What happens
        to my points if I close my account? | Could I add a photo to my profile? | Can my son use my
        membership too? | Is it okay to share my login with a colleague? | Could you let us merge
        two accounts some day? | Where can I see when I signed up?""",
    "technical": """Does the {item} work with Alexa? | Which phones can run your app? | How do I
        reset the {item} to factory settings? | Can the {item} run without wifi? | Could the app get
        a dark mode? | Is there a manual for the {item} online? | What does the blue light on the
        {item} mean? | Do you have a version of the app for tablets? | How often does the {item} get
        new firmware? | How do I rename the {item} in the app?""",
}
EMERGENCIES = {
    "billing": """My card is being charged {sum} again every hour! | You billed {sum} nine times
        today and my bank balance is gone. | Payments to you that I never made are hitting my card
        right now. | Your billing mistake just overdrew my bank, I can't buy food. | Ten payments of
        {sum} since this morning and they keep coming.""",
    "shipping": """Your courier left a pallet across the fire exit of our clinic. | The medicine
        fridge got lost on the way and patients are waiting. | The parcel you delivered is leaking
        battery acid in our hallway. | Your van just hit our gate and drove off with the parcel. |
        The box the driver left is smoking on my porch.""",
    "account": """Someone in {city} just logged in as me and changed my password! | My account was
        hacked, the email on it is not mine now. | I can see other customers' home addresses in my
        profile. | An ex employee is in our admin account and is deleting users. | A stranger is
        using my login at this moment.""",
    "technical": """The {item} is throwing sparks and I smell burning! | My {item} got so hot that
        it burned my hand. | The smart lock won't open and my kid is inside. | Your update took down
        the alarms in our whole hospital. | Smoke is coming out of the {item}.""",
}
CUES = {
    "high": """This is urgent.|URGENT!|It's urgent, please help.|I need this fixed today.|Urgent please!
        |I need help right now.|Must be fixed today!|I need an answer right now.|Very urgent for us.""",
    "normal": """This is the second time.|Not what I expected.|I found nothing in the FAQ.|Quite annoying.
        |Please check.|A bit disappointing.|Screenshot attached.|Same thing last month.""",
    "low": """No rush.|No hurry at all.|It can wait.|There is no rush.|No hurry.|No rush from my side.
        |This can wait a week.|It can wait, no rush.""",
}
REFUND = """I want my money back.|Please refund {paid}.|I want a refund.|I'd like a full refund.
    |Give me back {paid}!|I am asking for a refund.|Please pay me back.|Refund it please.
    |Money back please.|Please return {paid} to my card."""
NO_REFUND = """I don't need a refund, just fix it.|No refund please, just make it right.
    |Not after my money, I want it solved.|Keep the money, but sort this out."""
OPENINGS = "||||Hi,|Hello,|Hey,|Hi team,|Good morning,|Dear support,|Hi there.|hello??|Evening all."
CLOSINGS = "||||Thanks|Thank you, {name}|Cheers, {name}|Regards, {name}|- {name}|Thx|Many thanks."
FILL = {
    "item": "lamp|speaker|kettle|doorbell|router|thermostat|camera|headset|scale|fan|heater|dimmer",
    "sum": "$9|$18|$25|$42|$60|$75|$99",
    "day": "Monday|Tuesday|Wednesday|Friday|Saturday|the 3rd",
    "city": "Leeds|Austin|Dublin|Perth|Denver|Oslo",
    "name": "Mia|Tom|Priya|Jon|Sara|Luis|Kate|Omar",
}
PAID = {"billing": "that payment", "account": "my membership fee"}  # other teams: "what I paid"
TYPOS = {"the": "teh", "please": "plese", "and": "adn", "account": "acount", "with": "wiht"} | {
    "arrived": "arived", "tomorrow": "tommorow", "you": "u", "email": "emial", "when": "wen"
}  # fmt: skip
# Tickets that follow no pattern: team, priority, refund, text. The last four are held out.
LOOSE = """
    billing high true rent is due tonight and you took $75 twice. send one of them back now
    billing normal false so the coupon said 20% off, the receipt says 0% off. which is it
    billing low false No complaint, just curious what "svc $1" on my receipt is for
    shipping normal false Three slips from your courier, three times I was home. Where is my fan?
    shipping low false left a glove in the return box. if you find it fine, if not also fine
    shipping high true Wedding tomorrow and no lamps. Cancel it and refund me today.
    account normal false password, code, password, code, password, code. it never lets me in
    account high false got a mail that my login was changed. it was NOT me. stop this now
    account low false profile calls me Mr, I'm a Mrs. change it when you can
    technical normal true Third speaker, third time it went silent. I give up, refund me.
    technical low false your app spells Kitchen "Kitchne". made me laugh, fix it some day
    technical high false shop opens in an hour and every router you sold us is down. help
    billing normal true paid for one fan, billed for two. refund the second one please
    shipping low false You packed a second kettle by mistake. Happy to send it back, no rush
    account high false somebody is in my account and orders phones with it, block it now!
    technical normal false Doorbell rings, nobody there. Ten times a night. What is it doing?"""


def split(bank: str) -> list[str]:
    """The phrases of a bank, which bars divide."""
    return [" ".join(phrase.split()) for phrase in bank.split("|")]


def row(text: str, team: str, priority: str, refund: bool) -> Row:
    """A row of chat as OpenAI's files have it; the answer is JSON on one line."""
    answer = {"team": team, "priority": priority, "refund": refund}
    reply = json.dumps(answer, separators=(",", ":"))
    turns = (("system", SYSTEM), ("user", text), ("assistant", reply))
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def pick(rng: Random, used: Counter[str], phrases: list[str]) -> str:
    """One of the phrases that were used least so far."""
    phrase = min(phrases, key=lambda p: (used[p], rng.random()))
    used[phrase] += 1
    return phrase


def join(rng: Random, opening: str, sentences: list[str], closing: str) -> str:
    """One ticket as somebody might type it: case, typos and punctuation vary."""
    body = " ".join(s for s in sentences if s)
    if opening.endswith(",") and (body.startswith("A ") or not body.split()[0].isupper()):
        body = body[0].lower() + body[1:]
    words = " ".join(part for part in (opening, body, closing) if part).split(" ")
    spots = [i for i, word in enumerate(words) if word in TYPOS]
    if spots and rng.random() < 0.15:
        spot = rng.choice(spots)
        words[spot] = TYPOS[words[spot]]
    text = " ".join(words)
    habit = rng.random()
    if habit < 0.15:
        return text.lower().rstrip(".")
    return text.replace("'", "") if habit < 0.22 else text


def ticket(rng: Random, used: Counter[str], team: str, kind: str, new: bool) -> tuple[Row, str]:
    """A row, and the combination of phrases that its text was made from."""
    banks = {"Q": QUESTIONS, "E": EMERGENCIES}.get(kind, PROBLEMS)
    phrases = split(banks[team])
    problem = phrases[-1] if new else pick(rng, used, phrases[:-1])
    priority = {"H": "high", "E": "high", "Q": "low", "L": "low"}.get(kind, "normal")
    # A question, an emergency or a plain problem speaks for itself; the others need the words.
    quiet = rng.random() < {"Q": 0.6, "N": 0.6, "E": 0.2}.get(kind, 0)
    cue = "" if quiet else pick(rng, used, split(CUES[priority]))
    refund, ask = False, ""
    if kind in "NHL":
        chance = rng.random()
        refund = chance < 0.5
        ask = pick(rng, used, split(REFUND if refund else NO_REFUND)) if chance < 0.68 else ""
    order = rng.random()
    sentences = [problem, cue, ask]
    if order < 0.2:
        sentences = [ask, problem, cue]
    elif order < 0.35:
        sentences = [cue, problem, ask]
    fill = {slot: rng.choice(split(values)) for slot, values in FILL.items()}
    fill["paid"] = PAID.get(team, "what I paid")
    filled = [sentence.format(**fill) for sentence in sentences]
    opening, closing = rng.choice(split(OPENINGS)), rng.choice(split(CLOSINGS)).format(**fill)
    spare = LIMIT - len(" ".join(filled))
    closing = closing if len(closing) < spare else ""
    opening = opening if len(opening + closing) + 1 < spare else ""
    text = join(rng, opening, filled, closing)
    return row(text, team, priority, refund), f"{problem}|{cue}|{ask}"


def rows() -> dict[str, list[Row]]:
    """Every file's rows. No text and no combination of phrases occurs twice, in any file."""
    rng = Random(SEED)
    seen: set[str] = set()
    used: Counter[str] = Counter()
    teams = list(PROBLEMS)
    loose = [line.split(maxsplit=3) for line in LOOSE.strip().splitlines()]
    own = {"train": loose[:12], "test": loose[12:]}
    files: dict[str, list[Row]] = {}
    number = 0
    for name, size in SIZES.items():
        files[name] = [row(text, t, p, r == "true") for t, p, r, text in own.get(name, [])]
        while len(files[name]) < size:
            team, kind = teams[number % 4], CYCLE[number // 4 % len(CYCLE)]
            made, mix = ticket(rng, used, team, kind, name == "test" and number % 5 == 0)
            text = made["messages"][1]["content"]
            if len(text) > LIMIT or not seen.isdisjoint((text.lower().strip("."), mix)):
                continue
            seen |= {text.lower().strip("."), mix}
            files[name].append(made)
            number += 1
        rng.shuffle(files[name])
    return files


def main(folder: Path) -> None:
    """Write the three files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, chats in rows().items():
        lines = "".join(json.dumps(chat) + "\n" for chat in chats)
        (folder / f"{name}.jsonl").write_text(lines, encoding="ascii", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
