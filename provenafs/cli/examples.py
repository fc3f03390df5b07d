"""One example for each subcommand, shown at the end of its help and in the manual page."""

from __future__ import annotations

EXAMPLES = {
    "mount": "provenafs mount --read-only ~/reef",
    "umount": "provenafs umount ~/reef",
    "status": "provenafs status",
    "sync": "provenafs sync ~/reef",
    "cache warm": "provenafs cache warm ~/reef/by-name/Corals/data/2024",
    "cache pin": "provenafs cache pin ~/reef/by-name/Corals/data/field",
    "cache unpin": "provenafs cache unpin ~/reef/by-name/Corals/data/field",
    "cache evict": "provenafs cache evict ~/reef/by-name/Corals",
    "cache stat": "provenafs cache stat ~/reef/by-name/Corals/data",
    "recover list": "provenafs recover list",
    "recover send": "provenafs recover send 3 --as counts-mine.csv",
    "recover export": "provenafs recover export 3 --as ~/counts.csv",
    "recover discard": "provenafs recover discard 3",
    "login": "provenafs login --no-browser",
    "logout": "provenafs logout",
    "whoami": "provenafs whoami",
    "profile add": "provenafs profile add reef --domain example.org --realm example",
    "profile list": "provenafs profile list",
    "profile show": "provenafs profile show reef",
    "profile remove": "provenafs profile remove reef",
    "config show": "provenafs config show",
    "config docs": "provenafs config docs > docs/configuration.md",
    "info": "provenafs info 10378.1/1451860",
    "search": "provenafs search coral reef",
    "metadata show": "provenafs metadata show ~/reef/by-name/Corals",
    "metadata validate": "provenafs metadata validate metadata.json",
    "metadata edit": "provenafs metadata edit 10378.1/1451860 --reason 'A better description'",
    "metadata history": "provenafs metadata history 10378.1/1451860",
    "metadata diff": "provenafs metadata diff 10378.1/1451860 2 3",
    "metadata revert": "provenafs metadata revert 10378.1/1451860 2 --reason 'Wrong dates'",
    "mint": "provenafs mint --template > reef.json; provenafs mint reef.json",
    "version": "provenafs version 10378.1/1451860 --reason 'Counts of 2025' --copy-data",
    "lock": "provenafs lock 10378.1/1451860 --reason 'Counted again'",
    "unlock": "provenafs unlock 10378.1/1451860 --reason 'Done'",
    "lock-history": "provenafs lock-history 10378.1/1451860",
    "access show": "provenafs access show 10378.1/1451860",
    "access set": "provenafs access set 10378.1/1451860 --everybody metadata-read",
    "review request": (
        "provenafs review request 10378.1/1451860 --reviewer 10378.1/1451801 --notes 'Please look'"
    ),
    "review approve": "provenafs review approve 10378.1/1451860 --notes 'Complete'",
    "review reject": "provenafs review reject 10378.1/1451860 --notes 'Units are missing'",
    "review list": "provenafs review list 10378.1/1451860",
    "review inbox": "provenafs review inbox",
    "reviewers list": "provenafs reviewers list",
    "reviewers add": "provenafs reviewers add 10378.1/1451801",
    "reviewers remove": "provenafs reviewers remove 10378.1/1451801",
    "share": "provenafs share ~/reef/by-name/Corals/data/counts.csv --expires 24h",
    "credentials": 'eval "$(provenafs credentials 10378.1/1451860)"',
    "manifest": "provenafs manifest 10378.1/1451860 --output manifest.csv",
    "verify": "provenafs verify 10378.1/1451860 --full",
    "health": "provenafs health",
    "completion": 'eval "$(provenafs completion bash)"',
    "man": "provenafs man > provenafs.1",
    "sandbox start": "provenafs sandbox start --background",
    "sandbox stop": "provenafs sandbox stop",
    "sandbox status": "provenafs sandbox status",
    "sandbox login": "provenafs sandbox login bob",
    "sandbox env": 'eval "$(provenafs sandbox env alice)"',
}


def add_examples(name: str, command: object) -> None:
    """End the help of a command, and of those in its group, with their examples."""
    for word, each in getattr(command, "commands", {}).items():
        add_examples(f"{name} {word}", each)
    example = EXAMPLES.get(name)
    if example is not None:
        command.epilog = f"Example: {example}"  # type: ignore[attr-defined]
