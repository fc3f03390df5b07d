"""Lists as DynamoDB pages them: the limit counts rows before any filter, the key is a position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException
from ProvenaInterfaces.RegistryModels import ItemSubType
from pydantic.v1 import ValidationError

from provenafs.sandbox.access import AccessControl
from provenafs.sandbox.kinds import METADATA_ROLES, RecordFilter, RecordType, SortType
from provenafs.sandbox.messages import (
    FilterOptions,
    GeneralListAnswer,
    ListAnswer,
    Page,
    ReviewListAnswer,
    SortOptions,
    failed,
    succeeded,
)
from provenafs.sandbox.records import ItemDataset, SeededItem
from provenafs.sandbox.registry import parsed_item
from provenafs.sandbox.store import Document, Store
from provenafs.sandbox.users import User

_ATTRIBUTES = {
    None: "updated_timestamp",
    SortType.UPDATED_TIME: "updated_timestamp",
    SortType.CREATED_TIME: "created_timestamp",
    SortType.DISPLAY_NAME: "display_name",
    SortType.ACCESS_INFO_URI_BEGINS_WITH: "access_info_uri",
    SortType.RELEASE_TIMESTAMP: "release_timestamp",
}
_UNFILTERED_SORTS = (
    None,
    SortType.UPDATED_TIME,
    SortType.CREATED_TIME,
    SortType.DISPLAY_NAME,
)
_SUBTYPE_SORTS = (*_UNFILTERED_SORTS, SortType.ACCESS_INFO_URI_BEGINS_WITH)


@dataclass(frozen=True, slots=True)
class _Index:
    """The partition of the table a list walks through."""

    attribute: str
    value: str
    sorts: tuple[SortType | None, ...]


class Lists:
    """Every list route of the registry."""

    def __init__(self, store: Store, access: AccessControl) -> None:
        self._store = store
        self._access = access

    def of_subtype(
        self, user: User, subtype: ItemSubType, page: Page, records: RecordFilter
    ) -> ListAnswer:
        """One page of the items of a subtype that the user may see."""
        index = _Index("item_subtype", subtype.value, _SUBTYPE_SORTS)
        rows, key = self._page(index, page)
        rows = [row for row in rows if _matches(row, records)]
        visible = [row for row in rows if self._is_visible(user, row)]
        return _list_answer(visible, len(rows) - len(visible), key)

    def general(self, user: User, page: Page, options: FilterOptions) -> GeneralListAnswer:
        """One page of the stored rows of any subtype that the user may see."""
        if options.release_reviewer is not None:
            index = _reviewer_index(options.release_reviewer)
        elif options.item_subtype is not None:
            index = _Index("item_subtype", options.item_subtype.value, _SUBTYPE_SORTS)
        else:
            index = _Index("universal_partition_key", "OK", _UNFILTERED_SORTS)
        rows, key = self._page(index, page)
        items = [
            {name: value for name, value in row.items() if name != "universal_partition_key"}
            for row in rows
            if _matches(row, options.record_type, options) and self._is_visible(user, row)
        ]
        return GeneralListAnswer(
            status=succeeded("Successfully listed items."),
            items=items,
            total_item_count=len(items),
            pagination_key=key,
        )

    def of_reviewer(
        self, user: User, page: Page, options: FilterOptions, reviewer: str
    ) -> ReviewListAnswer:
        """One page of the datasets assigned to a reviewer."""
        rows, key = self._page(_reviewer_index(reviewer), page)
        items = [
            ItemDataset.parse_obj(row)
            for row in rows
            if _matches(row, options.record_type, options) and self._is_visible(user, row)
        ]
        return ReviewListAnswer(
            status=succeeded("Successfully listed datasets."),
            dataset_items=items,
            total_dataset_count=len(items),
            pagination_key=key,
        )

    def _page(self, index: _Index, page: Page) -> tuple[list[Document], Document | None]:
        """Up to `page_size` raw rows; the key only indicates that the limit ended the page."""
        sort = page.sort_by or SortOptions()
        if sort.sort_type not in index.sorts:
            raise HTTPException(
                400,
                "The query could not derive an index name for the requested filter"
                f" and sort {sort.sort_type}.",
            )
        attribute = _ATTRIBUTES[sort.sort_type]
        if index.attribute == "release_approver" and sort.sort_type is None:
            raise HTTPException(500, "The table does not have the specified index.")
        if page.page_size < 1:
            raise HTTPException(500, "Invalid value for parameter Limit.")
        where = {} if index.value == "OK" else {index.attribute: index.value}
        rows = self._store.query(
            attribute,
            where,
            ascending=sort.ascending,
            limit=page.page_size,
            after=_position(page.pagination_key, index, attribute),
            begins_with=sort.begins_with,
        )
        if len(rows) < page.page_size:
            return rows, None
        last = rows[-1]
        return rows, {"id": last["id"], index.attribute: index.value, attribute: last[attribute]}

    def _is_visible(self, user: User, row: Document) -> bool:
        return bool(set(METADATA_ROLES) & set(self._access.roles(user, row)))


def _reviewer_index(reviewer: str) -> _Index:
    return _Index("release_approver", reviewer, (None, SortType.RELEASE_TIMESTAMP))


def _position(key: Document | None, index: _Index, attribute: str) -> tuple[Any, str] | None:
    if key is None:
        return None
    if set(key) != {"id", index.attribute, attribute} or key[index.attribute] != index.value:
        raise HTTPException(500, "The provided starting key is invalid.")
    return key[attribute], key["id"]


def _matches(row: Document, records: RecordFilter, options: FilterOptions | None = None) -> bool:
    if options is not None and options.release_status is not None:
        return bool(row.get("release_status") == options.release_status)
    if records is RecordFilter.ALL:
        return True
    is_seed = bool(row["record_type"] == RecordType.SEED_ITEM)
    return is_seed == (records is RecordFilter.SEED_ONLY)


def _list_answer(rows: list[Document], hidden: int, key: Document | None) -> ListAnswer:
    answer = ListAnswer(
        status=succeeded("Successfully listed items."),
        items=[],
        seed_items=[],
        unparsable_items=[],
        total_item_count=len(rows),
        not_authorised_count=hidden,
        pagination_key=key,
    )
    for row in rows:
        try:
            if row["record_type"] == RecordType.SEED_ITEM:
                answer.seed_items.append(SeededItem.parse_obj(row))
            else:
                answer.items.append(parsed_item(row))
        except ValidationError:
            answer.unparsable_items.append(row)
    answer.complete_item_count = len(answer.items)
    answer.seed_item_count = len(answer.seed_items)
    answer.unparsable_item_count = len(answer.unparsable_items)
    if answer.unparsable_items:
        answer.status = failed("Some items could not be parsed.")
    return answer
