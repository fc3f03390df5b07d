"""Enumerations of the services' APIs."""

from __future__ import annotations

from enum import StrEnum


class RecordType(StrEnum):
    SEED_ITEM = "SEED_ITEM"
    COMPLETE_ITEM = "COMPLETE_ITEM"


class RecordFilter(StrEnum):
    ALL = "ALL"
    SEED_ONLY = "SEED_ONLY"
    COMPLETE_ONLY = "COMPLETE_ONLY"


class ReleaseStatus(StrEnum):
    NOT_RELEASED = "NOT_RELEASED"
    PENDING = "PENDING"
    RELEASED = "RELEASED"


class ReleaseAction(StrEnum):
    REQUEST = "REQUEST"
    APPROVE = "APPROVE"
    REJECT = "REJECT"


class SortType(StrEnum):
    CREATED_TIME = "CREATED_TIME"
    UPDATED_TIME = "UPDATED_TIME"
    DISPLAY_NAME = "DISPLAY_NAME"
    RELEASE_TIMESTAMP = "RELEASE_TIMESTAMP"
    ACCESS_INFO_URI_BEGINS_WITH = "ACCESS_INFO_URI_BEGINS_WITH"


class LockAction(StrEnum):
    LOCK = "LOCK"
    UNLOCK = "UNLOCK"


class ItemRole(StrEnum):
    """Roles on one item."""

    METADATA_READ = "metadata-read"
    METADATA_WRITE = "metadata-write"
    ADMIN = "admin"
    DATA_READ = "dataset-data-read"
    DATA_WRITE = "dataset-data-write"


class RealmRole(StrEnum):
    """Roles on a whole service."""

    REGISTRY_READ = "entity-registry-read"
    REGISTRY_WRITE = "entity-registry-write"
    REGISTRY_ADMIN = "entity-registry-admin"
    SYSTEM_READ = "sys-admin-read"
    SYSTEM_WRITE = "sys-admin-write"
    SYSTEM_ADMIN = "sys-admin-admin"
    HANDLE_READ = "handle-read"
    HANDLE_WRITE = "handle-write"
    HANDLE_ADMIN = "handle-admin"
    JOBS_READ = "job-service-read"
    JOBS_WRITE = "job-service-write"
    JOBS_ADMIN = "job-service-admin"


METADATA_ROLES = (ItemRole.METADATA_READ, ItemRole.METADATA_WRITE, ItemRole.ADMIN)
DATASET_ROLES = (*METADATA_ROLES, ItemRole.DATA_READ, ItemRole.DATA_WRITE)
READ = (RealmRole.REGISTRY_READ,)
WRITE = (RealmRole.REGISTRY_READ, RealmRole.REGISTRY_WRITE)
ADMIN = (*WRITE, RealmRole.REGISTRY_ADMIN)
