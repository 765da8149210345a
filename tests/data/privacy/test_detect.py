"""Secret detection by format and context, and redaction.

Tokens are assembled from parts, so that nothing in the repository looks like one.
"""

from __future__ import annotations

import base64
import json
import random
import string
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data.privacy.detect import Secret, find_secrets, redact_text, redact_value

ALNUM = string.ascii_letters + string.digits
URL = ALNUM + "-_"
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits
BASE32 = string.ascii_uppercase + "234567"


def random_text(count: int, letters: str = ALNUM, seed: int = 7) -> str:
    """Return random letters that start and end with one of the first 16 of ``letters``."""
    source = random.Random(seed)
    inner = "".join(source.choices(letters, k=count - 2))
    return source.choice(letters[:16]) + inner + source.choice(letters[:16])


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def jwt(**claims: Any) -> str:
    header, payload = encoded('{"alg":"HS256","typ":"JWT"}'), encoded(json.dumps(claims))
    return f"{header}.{payload}.{random_text(43, URL)}"


def pem(kind: str) -> str:
    lines = "\n".join(random_text(64, ALNUM + "+/", seed) for seed in range(6))
    dashes = "-" * 5
    return (
        f"{dashes}BEGIN {kind}PRIVATE KEY{dashes}\n{lines}\n{dashes}END {kind}PRIVATE KEY{dashes}"
    )


TOKENS: list[tuple[str, str]] = [
    ("OpenAI API key", "sk-" + "proj-" + random_text(140, URL)),
    ("OpenAI API key", "sk-" + "svcacct-" + random_text(100, URL)),
    ("API key", "sk-" + random_text(48)),
    ("API key", "sk-" + random_text(32, HEX)),
    ("Anthropic API key", "sk-" + "ant-" + "api03-" + random_text(95, URL)),
    ("OpenRouter API key", "sk-" + "or-v1-" + random_text(64, HEX)),
    ("Hugging Face token", "hf" + "_" + random_text(34, string.ascii_letters)),
    ("Together API key", "tgp" + "_v1_" + random_text(43, URL)),
    ("Groq API key", "gsk" + "_" + random_text(52)),
    ("xAI API key", "xai" + "-" + random_text(80)),
    ("Perplexity API key", "pplx" + "-" + random_text(48)),
    ("Replicate token", "r8" + "_" + random_text(37)),
    ("NVIDIA API key", "nvapi" + "-" + random_text(64, URL)),
    ("LangSmith key", "lsv2" + "_pt_" + random_text(32, HEX) + "_" + random_text(10, HEX)),
    ("AWS access key", "AK" + "IA" + random_text(16, BASE32)),
    ("AWS access key", "AS" + "IA" + random_text(16, BASE32)),
    ("Amazon Bedrock API key", "AB" + "SK" + random_text(128, ALNUM + "+/")),
    ("Google API key", "AI" + "za" + "Sy" + random_text(33, URL)),
    ("Google API key", "AI" + "za" + "Hr-" + random_text(32, URL)),
    ("Google client secret", "GOC" + "SPX-" + random_text(28, URL)),
    ("Google access token", "ya" + "29." + random_text(120, URL)),
    ("DigitalOcean token", "dop" + "_v1_" + random_text(64, HEX)),
    ("Databricks token", "da" + "pi" + random_text(32, HEX)),
    ("Terraform Cloud token", random_text(14) + ".atlas" + "v1." + random_text(67)),
    ("Vault token", "hv" + "s." + random_text(95, URL)),
    ("age secret key", "AGE-" + "SECRET-KEY-1" + random_text(58, UPPER)),
    ("GitHub token", "gh" + "p_" + random_text(36)),
    ("GitHub token", "gh" + "s_" + random_text(36)),
    ("GitHub token", "gh" + "s_" + "12345_" + jwt(iss="github", installation=8812345)),
    ("GitHub token", "github" + "_pat_" + random_text(22) + "_" + random_text(59)),
    ("GitLab token", "gl" + "pat-" + random_text(20, URL)),
    ("GitLab token", "gl" + "pat-" + random_text(27, URL) + ".01." + random_text(9, HEX)),
    ("npm token", "np" + "m_" + random_text(36)),
    ("PyPI token", "pypi-" + "AgEIcHlwaS5vcmc" + random_text(150, URL)),
    ("Docker token", "dckr" + "_pat_" + random_text(27, URL)),
    ("Atlassian token", "ATA" + "TT3" + random_text(186, URL)),
    ("Slack token", "xo" + "xb-" + "2745910386-2745911127-" + random_text(24)),
    ("Slack token", "xo" + "xp-" + "2745910386-2745911127-2745910311-" + random_text(32, HEX)),
    ("Slack token", "xa" + "pp-" + "1-A0" + random_text(9, UPPER) + "-2745911127-" + random_text(64, HEX)),
    ("Slack webhook", "hooks.slack" + ".com/services/T0" + random_text(7, UPPER) + "/B0" + random_text(8, UPPER) + "/" + random_text(24)),
    ("Discord webhook", "discord" + ".com/api/webhooks/826491736204918273/" + random_text(68, URL)),
    ("Discord bot token", encoded("826491736204918273") + "." + random_text(6, URL) + "." + random_text(38, URL)),
    ("Telegram bot token", "71" + "46028395:" + "AA" + random_text(33, URL)),
    ("SendGrid API key", "S" + "G." + random_text(22, URL) + "." + random_text(43, URL)),
    ("Twilio API key", "S" + "K" + random_text(32, HEX)),
    ("Mailgun API key", "key" + "-" + random_text(32, HEX)),
    ("Mailchimp API key", random_text(32, HEX) + "-us" + "14"),
    ("Airtable token", "pa" + "t" + random_text(14) + "." + random_text(64, HEX)),
    ("Stripe key", "sk" + "_live_" + random_text(24)),
    ("Stripe key", "rk" + "_test_" + random_text(99)),
    ("Stripe webhook secret", "wh" + "sec_" + random_text(32)),
    ("Shopify token", "shp" + "at_" + random_text(32, HEX)),
    ("Azure client secret", random_text(3) + "8Q" + "~" + random_text(34, URL)),
    ("private key", pem("")),
    ("private key", pem("RSA ")),
    ("private key", pem("OPENSSH ").replace("\n", "\\n")),
    ("JSON web token", jwt(sub="ab12", exp=1_900_000_000)),
    ("JSON web token", jwt(sub="1234567890", name="Ada Byron")),
    ("AWS access key", "AK" + "IA" + random_text(16, string.ascii_uppercase + string.digits)),
    ("private key", f"-----BEGIN PRIVATE KEY-----\n{random_text(44)}\n-----END PRIVATE KEY-----"),
]  # fmt: skip

PASSWORD = random_text(4) + "!" + random_text(6, string.ascii_letters) + "7"
# Kind, text before the secret, the secret, text after it.
IN_CONTEXT: list[tuple[str, str, str, str]] = [
    ("AWS secret key", "aws_secret_access_key = ", random_text(40, ALNUM + "/+"), ""),
    ("Azure access key", "AccountName=a;AccountKey=", random_text(86) + "==", ";Endpoint"),
    ("Azure access key", "sb://x.net/;SharedAccessKey=", random_text(43) + "=", ""),
    ("Azure signature", "https://a.blob.net/c?sv=2024&sig=", random_text(43) + "%3D", "&se=1"),
    ("password in a URL", "postgresql://app:", PASSWORD, "@db.acme.io:5432/x"),
    ("password in a URL", "mongodb+srv://root:", random_text(18), "@cluster0.ab1.mongodb.net/"),
    ("password in a URL", "https://deploy:", random_text(20), "@git.acme.io/a.git"),
    ("bearer token", "Authorization: Bearer ", random_text(40), ""),
    ("password in a header", "Authorization: Basic ", base64.b64encode(f"a:{PASSWORD}".encode()).decode(), '"'),
    ("key or token", "API_KEY=", random_text(32), ""),
    ("key or token", '"api_key": "', random_text(40, HEX), '"'),
    ("key or token", "client_secret: '", random_text(32), "'"),
    ("key or token", "The token is ", random_text(30), " as you know"),
    ("key or token", "access key：", random_text(30), ""),
    ("password", "DB_PASSWORD=", PASSWORD, ""),
    ("password", "password => '", PASSWORD, "'"),
    ("password", "smtp.password: ", PASSWORD, ""),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "token"), TOKENS)
@pytest.mark.parametrize(
    "around", ["{}", "use {} now", '{{"k": "{}"}}', "T={}\n", "密钥{}。", "\ud800{}"]
)
def test_token_is_detected_in_any_surrounding_text(kind: str, token: str, around: str) -> None:
    text = around.format(token)
    (secret,) = find_secrets(text)
    assert (secret.kind, secret.code) == (kind, "secret")
    assert text[secret.start : secret.end] == token


@pytest.mark.parametrize(("kind", "before", "value", "after"), IN_CONTEXT)
def test_secret_is_detected_from_its_context(
    kind: str, before: str, value: str, after: str
) -> None:
    text = f"Set {before}{value}{after}"
    (secret,) = find_secrets(text)
    assert (secret.kind, secret.code) == (kind, "secret")
    assert text[secret.start : secret.end] == value


def test_password_in_prose_is_personal_data() -> None:
    for text in (
        f"My password is {PASSWORD}",
        f"密码：{PASSWORD}",
        f'{{"password": "{PASSWORD}"}}',
    ):
        (secret,) = find_secrets(text)
        assert (secret.kind, secret.code) == ("password", "personal_data")
        assert text[secret.start : secret.end] == PASSWORD


NOT_SECRETS = [
    # one character too short, or part of another word
    "gh" + "p_" + random_text(35),
    "x" + "gh" + "p_" + random_text(36),
    "AK" + "IA" + random_text(15, BASE32),
    "AK" + "IA" + random_text(17, BASE32),
    "AI" + "za" + random_text(34, URL),
    "hf" + "_" + random_text(20),
    "S" + "G." + random_text(22, URL) + "." + random_text(20, URL),
    # placeholders
    "AK" + "IA" + "IOSFODNN7" + "EXAMPLE",
    "gh" + "p_" + "x" * 36,
    "gh" + "p_" + "abcdefghijklmnopqrstuvwxyz0123456789",
    "sk-" + "proj-" + "your-key-here" * 5,
    "hf_your_token_here",
    "OPENAI_API_KEY=sk-...",
    "api_key = os.environ['OPENAI_API_KEY']",
    "api_key: <YOUR_API_KEY_1234567890>",
    "token = get_token_from_vault_v2_2024(name)",
    'tokenizer = AutoTokenizer.from_pretrained("meta-llama/Llama-3.1-8B-Instruct")',
    'pad_token="<|finetune_right_pad_id|>"',
    "max_tokens: 1024, token_type_ids, secret=False",
    "next_page_token: " + random_text(40),
    "csrf-token: " + random_text(40),
    "The secret: international-relations-2024-and-after",
    "password=password", "password: changeme123!", "password = P@ssw0rd!2024", "pwd=$DB_PWD_1A",
    "password=config.Password1", "The password is Base64-encoded, case-sensitive.",
    "password: os.environ.get('A1b!')",
    "postgres://user:password@localhost:5432/db", "mysql://root:root@db/app",
    "https://user:pass@example.com/", "http://localhost:8080/a@b", "redis://:secret@redis:6379",
    "https://github.com:443/a/b@v1.2.3", "ssh://git@github.com:22/a.git",
    "Authorization: Bearer YOUR_ACCESS_TOKEN_GOES_HERE", "a bearer of characteristically good news",
    "Authorization: Basic " + base64.b64encode(b"username:password").decode(),
    "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
    "-----BEGIN PUBLIC KEY-----\n" + random_text(64) + "\n-----END PUBLIC KEY-----",
    "A file that starts with -----BEGIN RSA PRIVATE KEY----- is a key, then " + "words " * 40,
    jwt(sub="1234567890", name="John Doe"),
    f"{random_text(30)}.{random_text(30)}.{random_text(30)}",
    # equally random, but not secret
    random_text(40, HEX), random_text(64, HEX), random_text(64), str(uuid.UUID(int=2**127 + 5)),
    f"commit {random_text(40, HEX)}", f"sha256:{random_text(64, HEX)}", f'"etag": "{random_text(32, HEX)}"',
    f"id={random_text(22)}", f"data:image/png;base64,{random_text(400, ALNUM + '+/')}==",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_SECRETS)
def test_placeholders_code_and_random_ids_are_not_secrets(text: str) -> None:
    assert find_secrets(text) == []


def _hex(source: random.Random) -> str:
    return source.randbytes(20).hex()


def _uuid(source: random.Random) -> str:
    return str(uuid.UUID(bytes=source.randbytes(16), version=4))


def _base64(source: random.Random) -> str:
    return base64.b64encode(source.randbytes(source.randrange(8, 400))).decode()


def _base64url(source: random.Random) -> str:
    return base64.urlsafe_b64encode(source.randbytes(source.randrange(8, 400))).decode()


def _random_float(source: random.Random) -> str:
    return repr(source.random())


def _timestamp(source: random.Random) -> str:
    return str(source.randrange(1_400_000_000_000, 2_000_000_000_000))


@pytest.mark.parametrize("kind", [_hex, _uuid, _base64, _base64url, _random_float, _timestamp])
def test_random_identifiers_are_not_secrets(
    kind: Callable[[random.Random], str],
) -> None:
    source = random.Random(20261)
    for _ in range(2000):
        word = kind(source)
        assert find_secrets(f"id {word}, then file={word}") == [], word


def test_most_specific_rule_names_the_secret() -> None:
    token = "gh" + "p_" + random_text(36)
    (secret,) = find_secrets(f"GITHUB_TOKEN={token}")
    assert secret.kind == "GitHub token"
    assert find_secrets(f"https://x:{token}@github.com/a")[0].kind == "GitHub token"


def test_redaction_names_the_secret_and_keeps_other_text() -> None:
    token = "gh" + "p_" + random_text(36)
    assert redact_text(f"use {token} now") == "use [GitHub token, 40 characters] now"
    assert redact_text(f"{token}\n{token}") == "\n".join(["[GitHub token, 40 characters]"] * 2)
    assert redact_text("nothing here") == "nothing here"


def test_redaction_removes_further_copies_inside_words() -> None:
    token = "gh" + "p_" + random_text(36)
    assert token not in redact_text(f"{token} and my{token}too")


def test_text_full_of_secrets_is_replaced_as_a_whole() -> None:
    text = "\n".join(f"person{i}.a@mail{i}.org" for i in range(500))
    assert redact_text(text) == f"[text full of secrets or personal data, {len(text):,} characters]"


def test_redact_value_covers_nested_values_and_field_names() -> None:
    token = "gh" + "p_" + random_text(36)
    row = {
        "messages": [{"role": "user", "content": f"hi {token}", "weight": 1}],
        "password": PASSWORD,
        token: None,
        "n": 3.5,
        "ssn": 219_09_9998,
        "ok": True,
    }
    shown = redact_value(row)
    text = json.dumps(shown)
    assert token not in text and PASSWORD not in text and "219099998" not in text
    assert shown["messages"][0] == {
        "role": "user",
        "content": "hi [GitHub token, 40 characters]",
        "weight": 1,
    }
    assert (shown["n"], shown["ok"], shown["password"]) == (
        3.5,
        True,
        f"[password, {len(PASSWORD)} characters]",
    )
    deep: Any = token
    for _ in range(5000):
        deep = [deep]
    assert token not in repr(redact_value(deep))[:10_000]


# Fragments of secrets, combined at random.
pieces = st.one_of(
    st.sampled_from([token for _, token in TOKENS]),
    st.sampled_from([before + value + after for _, before, value, after in IN_CONTEXT]),
    st.sampled_from(
        ["gh" + "p_", "eyJ", ".eyJ", "-----BEGIN ", "PRIVATE KEY-----", "://a:", "@", "a.b@c.com", "=", ": ",
         "password", "token", "[", "]", "bearer ", "+1 ", "212-664-7665", "4111 1111 1111 1111",
         "DE89 3704 0044 0532 0130 00", "219-09-9998", " ", "\n", "SSN ", "é", "\ud800"]
    ),
    st.text(max_size=8),
    st.text(alphabet=URL + "./+=", min_size=1, max_size=60),
)  # fmt: skip
texts = st.lists(pieces, max_size=8).map("".join)


@given(texts)
def test_redacted_text_contains_no_secrets(text: str) -> None:
    secrets = find_secrets(text)
    shown = redact_text(text)
    assert find_secrets(shown) == []
    for secret in secrets:
        assert text[secret.start : secret.end] not in shown


@given(texts)
def test_secrets_are_in_order_and_do_not_overlap(text: str) -> None:
    at = 0
    for secret in find_secrets(text):
        assert isinstance(secret, Secret)
        assert at <= secret.start < secret.end <= len(text)
        at = secret.end


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_redacting_any_value_twice_changes_nothing(value: Any) -> None:
    shown = redact_value(value)
    assert redact_value(shown) == shown


@pytest.mark.parametrize(
    "piece", ["a@", "a@a.", "eyJaaaaaaaaaaa.", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "://a:",
              "gl" + "pat-", "token=", "password=A1b$", "DE89 ", "4111 ", "+1234567890 ", "SSN:", "'", "{{"]
)  # fmt: skip
def test_long_texts_of_repeated_prefixes_can_be_redacted(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    assert len(redact_text(text)) > 0
