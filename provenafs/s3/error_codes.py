"""The table of S3 error codes and their cures.

The codes are those of "Error responses" in the Amazon S3 API reference
(https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html) that an answer to one of our
operations may carry: HeadBucket, HeadObject, GetObject, ListObjectsV2, PutObject, CopyObject,
DeleteObject, DeleteObjects and those of multipart uploads. A few more are added, which AWS answers
though that page does not list them, or which other servers of the protocol answer. An answer
without a code, or with one that nobody knows, is judged by its HTTP status.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Cure(Enum):
    """The cure for a failure."""

    RETRY = "the same request may succeed in a while"
    SLOW_DOWN = "the same request may succeed once fewer are made"
    REFRESH = "other credentials may be accepted; if not, access is refused"
    REFUSED = "access is refused, whatever the credentials"
    STALE = "the object is not the one that was asked for"
    GONE = "the object or upload is not there"
    SKEWED = "this machine's clock must be set"
    BROKEN = "nothing that the client can do"


_CODES: Mapping[Cure, tuple[str, ...]] = {
    Cure.RETRY: (
        "InternalError",
        "RequestTimeout",
        "OperationAborted",
        # The bytes were cut or changed on their way.
        "IncompleteBody",
        "BadDigest",
        "XAmzContentChecksumMismatch",
    ),
    Cure.SLOW_DOWN: (
        "ServiceUnavailable",
        "SlowDown",
        "503 SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "TooManyRequests",
    ),
    # AccessDenied is among them: S3 answers it for some expired session tokens, and a role may
    # have been granted since.
    Cure.REFRESH: (
        "AccessDenied",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidToken",
        "TokenRefreshRequired",
    ),
    Cure.REFUSED: (
        "AccountProblem",
        "AllAccessDisabled",
        "InvalidPayer",
        "NotSignedUp",
        "TokenCodeInvalidError",
        "UnauthorizedAccess",
        "UnauthorizedAccessError",
        "UnexpectedIPError",
    ),
    # Ranges are asked for within the size that was listed: where one is not there, the object
    # is another.
    Cure.STALE: ("ConditionalRequestConflict", "InvalidRange", "PreconditionFailed"),
    # Not NoSuchBucket: no object is known to be gone because its bucket is not found.
    Cure.GONE: ("NoSuchKey", "NoSuchUpload", "NoSuchVersion"),
    Cure.SKEWED: ("RequestTimeTooSkewed",),
    Cure.BROKEN: (
        "AccessControlListNotSupported",
        "AuthorizationHeaderMalformed",
        "AuthorizationQueryParametersError",
        "BucketHasAccessPointsAttached",
        "ClientTokenConflict",
        "ConnectionClosedByRequester",
        "CredentialsNotSupported",
        "EndpointNotFound",
        "EntityTooLarge",
        "EntityTooSmall",
        "IllegalLocationConstraintException",
        "IncorrectEndpoint",
        "InlineDataTooLarge",
        "InvalidAccessPoint",
        "InvalidAccessPointAliasError",
        "InvalidArgument",
        "InvalidBucketName",
        "InvalidBucketOwnerAWSAccountID",
        "InvalidBucketState",
        "InvalidDigest",
        "InvalidEncryptionAlgorithmError",
        "InvalidHostHeader",
        "InvalidHttpMethod",
        "InvalidObjectState",
        "InvalidPart",
        "InvalidPartOrder",
        "InvalidRegion",
        "InvalidRequest",
        "InvalidSessionException",
        "InvalidSignature",
        "InvalidStorageClass",
        "InvalidTag",
        "InvalidURI",
        "KMS.DisabledException",
        "KMS.InvalidKeyUsageException",
        "KMS.KMSInvalidStateException",
        "KMS.NotFoundException",
        "KeyTooLongError",
        "MalformedXML",
        "MaxMessageLengthExceeded",
        "MetadataTooLarge",
        "MethodNotAllowed",
        "MissingAuthenticationToken",
        "MissingContentLength",
        "MissingRequestBodyError",
        "MissingSecurityElement",
        "MissingSecurityHeader",
        "NoSuchAccessPoint",
        "NoSuchBucket",
        "NoSuchMultiRegionAccessPoint",
        "NotDeviceOwnerError",
        "NotImplemented",
        "PermanentRedirect",
        "PermanentRedirectControlError",
        "Redirect",
        "RequestHeaderSectionTooLarge",
        "RequestIsNotMultiPartContent",
        "ResponseInterrupted",
        "RestoreAlreadyInProgress",
        "ServerSideEncryptionConfigurationNotFoundError",
        "SignatureDoesNotMatch",
        "TagPolicyException",
        "TemporaryRedirect",
        "UnexpectedContent",
        "UnsupportedArgument",
        "UnsupportedSignature",
        "UserKeyMustBeSpecified",
    ),
}
CURES: Mapping[str, Cure] = {code: cure for cure, codes in _CODES.items() for code in codes}

_STATUSES: Mapping[int, Cure] = {
    401: Cure.REFRESH,
    403: Cure.REFRESH,
    408: Cure.RETRY,
    409: Cure.STALE,
    412: Cure.STALE,
    416: Cure.STALE,
    429: Cure.SLOW_DOWN,
    501: Cure.BROKEN,
    503: Cure.SLOW_DOWN,
}
# The answer to a HEAD has no body that could hold a code: a 404 is all there is to say that an
# object is gone, and a 400 to say that a token has expired. With any other request the server
# says so, and such a status without it comes from something in between.
_STATUSES_OF_HEAD: Mapping[int, Cure] = {400: Cure.REFRESH, 404: Cure.GONE}


def cure_of(status: int, code: str, *, is_head: bool) -> Cure:
    """The cure for an error response; `code` is empty if none could be read."""
    known = CURES.get(code)
    if known is not None:
        return known
    if is_head and status in _STATUSES_OF_HEAD:
        return _STATUSES_OF_HEAD[status]
    return _STATUSES.get(status, Cure.RETRY if status >= 500 else Cure.BROKEN)
