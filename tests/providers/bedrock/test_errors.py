"""Errors of boto3, each with its kind, its next step, and nothing secret."""

from __future__ import annotations

import email.utils
from typing import Any

import pytest
from boto3.exceptions import S3UploadFailedError
from botocore import exceptions as boto
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from ftwizard.providers.base import ProviderError
from ftwizard.providers.bedrock import errors
from tests.providers.bedrock.plans import SECRET, make_environment

TOKEN = "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJHMEUCIQ"
DENIED = (
    "User: arn:aws:iam::123456789012:user/ann is not authorized to perform:"
    " bedrock:CreateModelCustomizationJob on resource: * because no identity-based policy allows the"
    " bedrock:CreateModelCustomizationJob action"
)


def answer(code: str, status: int, message: str = "", **headers: str) -> ClientError:
    now = email.utils.formatdate(usegmt=True)
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {"date": now, **headers}},
        },
        "CreateModelCustomizationJob",
    )


def translate(error: BaseException, *, creates: bool = False, profile: str = "") -> ProviderError:
    environment = make_environment() | {"AWS_SESSION_TOKEN": TOKEN}
    if profile:
        environment["AWS_PROFILE"] = profile
    account = errors.Account(environment)
    return errors.translate(error, account, "create the job", creates=creates, model="m")


ANSWERS: list[tuple[str, int, str, str, bool]] = [
    ("UnrecognizedClientException", 403, "The security token is invalid.", "key", False),
    ("InvalidSignatureException", 403, "Signature expired", "key", False),
    ("ExpiredTokenException", 403, "expired", "key", False),
    ("InvalidClientTokenId", 403, "", "key", False),
    ("AccessDeniedException", 403, "The security token included is expired", "key", False),
    ("AccessDeniedException", 403, DENIED, "permission", False),
    ("403", 403, "Forbidden", "permission", False),
    ("ValidationException", 400, "Could not assume provided IAM role", "permission", False),
    ("ValidationException", 400,
     "Could not validate GetObject permissions to access Amazon S3 bucket: b at key k",
     "permission", False),
    ("ServiceQuotaExceededException", 400, "Too many jobs", "quota", False),
    ("ResourceNotFoundException", 400, "no such job", "missing", False),
    ("NoSuchEntity", 404, "", "missing", False),
    ("404", 404, "Not Found", "missing", False),
    ("ValidationException", 400, "The provided model identifier is invalid", "rejected", False),
    ("TooManyTagsException", 400, "", "rejected", False),
    ("PermanentRedirect", 301, "", "rejected", False),
    ("ValidationException", 400, "The provided job name is currently in use.", "rejected", True),
    ("ConflictException", 400, "The job name is already in use", "rejected", True),
    ("ResourceInUseException", 400, "Model customization job x already exists", "rejected", True),
    ("ResourceInUseException", 400, "Custom model x already exists", "rejected", False),
    ("ThrottlingException", 429, "Rate exceeded", "unreachable", False),
    ("SlowDown", 503, "", "unreachable", False),
    ("InternalServerException", 500, "", "unreachable", True),
    ("ValidationException", 400, "Encountered an unexpected error when processing the request",
     "unreachable", True),
    ("", 502, "", "unreachable", True),
    ("ValidationException", 400, "This model has reached the end of its life.", "closed", False),
    ("SomethingNew", 418, "", "rejected", False),
]  # fmt: skip


@pytest.mark.parametrize(("code", "status", "text", "kind", "may_have_acted"), ANSWERS)
def test_answers(code: str, status: int, text: str, kind: str, may_have_acted: bool) -> None:
    error = translate(answer(code, status, text), creates=True)
    assert (error.kind, error.may_have_acted) == (kind, may_have_acted)
    assert error.message.endswith(".") and error.hint
    assert not translate(answer(code, status, text)).may_have_acted  # nothing was to be created


def test_refused_credentials_of_a_role_are_named() -> None:
    account = errors.Account({})
    account.method = "iam-role"
    error = errors.translate(answer("InvalidClientTokenId", 403), account, "create the job")
    assert "refused the credentials of the role of this machine" in error.message


@pytest.mark.parametrize(
    ("error", "kind", "part"),
    [(boto.NoCredentialsError(), "key", "boto3 looked at AWS_ACCESS_KEY_ID"),
     (boto.PartialCredentialsError(provider="env", cred_var="x"), "key", "PartialCredentialsError"),
     (boto.ProfileNotFound(profile="dev"), "key", "profile dev"),
     (boto.SSOTokenLoadError(error_msg="m"), "key", "aws sso login --profile dev"),
     (boto.UnauthorizedSSOTokenError(), "key", "aws sso login --profile dev"),
     (boto.LoginRefreshRequired(), "key", "aws login --profile dev"),
     (boto.MetadataRetrievalError(error_msg="m"), "key", "role of this machine"),
     (boto.NoRegionError(), "rejected", "AWS_DEFAULT_REGION"),
     (boto.InvalidRegionError(region_name="!"), "rejected", "bedrock.region"),
     (boto.ParamValidationError(report="Invalid x"), "rejected", "Invalid x")],
)  # fmt: skip
def test_errors_before_a_request(error: BaseException, kind: str, part: str) -> None:
    translated = translate(error, creates=True, profile="dev")
    assert (translated.kind, translated.may_have_acted) == (kind, False)
    assert part in translated.text


ADDRESS = {"endpoint_url": "https://user:pa55word@bedrock.example/x"}


@pytest.mark.parametrize(
    ("error", "may_have_acted"),
    [(boto.EndpointConnectionError(**ADDRESS), False),
     (boto.ConnectTimeoutError(**ADDRESS), False),
     (boto.ProxyConnectionError(proxy_url="http://u:pa55word@p", error="e"), False),
     (boto.SSLError(error="e", **ADDRESS), False),
     (boto.ReadTimeoutError(**ADDRESS), True),
     (boto.ConnectionClosedError(**ADDRESS), True),
     (boto.HTTPClientError(error=OSError("broken")), True),
     (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), True),
     (ResponseParserError("no JSON"), True)],
)  # fmt: skip
def test_lost_answers(error: BaseException, may_have_acted: bool) -> None:
    translated = translate(error, creates=True)
    assert (translated.kind, translated.may_have_acted) == ("unreachable", may_have_acted)
    assert "pa55word" not in translated.text
    assert (translated.hint == errors.AGAIN) is may_have_acted


def test_the_right_that_is_missing_is_named() -> None:
    assert (
        "Allow bedrock:CreateModelCustomizationJob in IAM"
        in translate(answer("AccessDeniedException", 403, DENIED)).hint
    )
    scp = DENIED.replace(
        "no identity-based policy allows", "an explicit deny in a service control policy for"
    )
    assert "organization" in translate(answer("AccessDeniedException", 403, scp)).hint


def test_an_encoded_message_and_keys_are_not_shown() -> None:
    text = f"key AKIAIOSFODNN7EXAMPLE {SECRET} {TOKEN} {SECRET[5:20]}. Encoded authorization failure message: abc"
    error = translate(answer("UnauthorizedOperation", 403, text))
    for secret in (SECRET, TOKEN, SECRET[5:20], "AKIAIOSFODNN7EXAMPLE", "abc"):
        assert secret not in error.text
    assert SECRET not in repr(errors.Account(make_environment()))


def test_a_code_cannot_steer_the_terminal() -> None:
    error = translate(answer("\x1b]0;x", 500))
    assert "\x1b" not in error.text and "\x1b" not in error.code


def test_the_wait_that_is_asked_for_is_kept() -> None:
    error = translate(answer("ThrottlingException", 429, **{"retry-after": "7"}))
    assert error.retry_after_s == 7


def test_a_wrong_clock_is_named() -> None:
    error = translate(answer("RequestTimeTooSkewed", 403, date="Fri, 31 Dec 2099 00:00:00 GMT"))
    assert error.kind == "key" and "clock" in error.hint
    late = "Signature expired: 20261129T122519Z is now earlier than 20261129T131019Z"
    assert "clock" in translate(answer("SignatureDoesNotMatch", 403, late)).hint
    assert "aws login" in translate(answer("ExpiredToken", 403, "The token is expired")).hint


def test_keys_of_the_environment_count_more_than_a_login() -> None:
    expired = answer("ExpiredToken", 403, "The security token included in the request is expired")
    error = translate(expired, profile="dev")
    assert "AWS_ACCESS_KEY_ID in the environment" in error.message and "dev" not in error.message
    assert "unset AWS_ACCESS_KEY_ID" in error.hint
    account = errors.Account({"AWS_PROFILE": "dev"})
    error = errors.translate(expired, account, "create the job")
    assert "the profile dev" in error.message
    assert error.hint.startswith("Log in: aws login --profile dev")


def test_a_failed_transfer_has_its_cause() -> None:
    def fail() -> None:
        try:
            raise answer("NoSuchBucket", 404, "The specified bucket does not exist")
        except ClientError as error:
            raise S3UploadFailedError("Failed to upload") from error

    with pytest.raises(S3UploadFailedError) as failure:
        fail()
    translated = translate(failure.value)
    assert translated.kind == "missing" and "bucket does not exist" in translated.message


def test_a_program_that_supplies_credentials_is_not_quoted() -> None:
    error: Any = boto.CredentialRetrievalError(provider="custom-process", error_msg=SECRET)
    assert SECRET not in translate(error).text
