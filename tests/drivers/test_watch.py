"""References are seen to move at once; what is no reference is not seen at all."""

import asyncio
import logging
import shutil
import threading
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from emulator.drivers import watch
from emulator.drivers.clock import SystemClock
from emulator.drivers.watch import Watcher, common_directory, look
from tests.helpers import git_repository, needs_reftable, on_both_loops, until

# The driver ignores it as well; pytest puts its own filters in the place of the driver's.
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id .* already exists:RuntimeWarning")

NEVER = 3600.0  # seconds between looks, where only events may tell


@pytest.fixture
def app(tmp_path):
    return git_repository(tmp_path, {"a": "1"})


def by_events() -> Watcher:
    return Watcher(SystemClock(), every=NEVER, alone=NEVER)


class Seen:
    """Counts what a watch yields; the consumer does nothing else."""

    def __init__(self) -> None:
        self.count = 0
        self.more = asyncio.Event()

    def note(self) -> None:
        self.count += 1
        self.more.set()

    async def next(self, *, within: float = 5.0) -> None:
        async with asyncio.timeout(within):
            await self.more.wait()
        self.more.clear()

    async def quiet(self, seconds: float) -> bool:
        """Nothing comes for so long; also waits out what is still under way."""
        try:
            await self.next(within=seconds)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def watching(watcher: Watcher, path: object):
    """A watch that has yielded for the first time and goes on in the background."""
    seen = Seen()

    async def consume():
        async with aclosing(watcher.watch(str(path))) as changes:
            async for _ in changes:
                seen.note()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(consume())
        await seen.next()
        yield seen
        task.cancel()


@on_both_loops
async def test_a_commit_is_seen(tmp_path):
    app = git_repository(tmp_path, {"a": "1"})
    async with watching(by_events(), app) as seen:
        for number in range(20):
            await asyncio.to_thread(app.commit, {"a": f"number {number}"})
            await seen.next()


async def test_one_commit_is_one_change(app):
    async with watching(by_events(), app) as seen:
        await asyncio.to_thread(app.commit, {"a": "2"})
        await seen.next()
        assert await seen.quiet(0.2)


@pytest.mark.parametrize(
    "command",
    [
        "commit --amend --message Amended",
        "branch --force other HEAD~1",
        "branch deeply/nested/name",
        "branch --delete --force doomed",
        "update-ref refs/heads/other HEAD~1",
        "reset --hard HEAD~1",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
async def test_whatever_moves_a_branch_is_seen(app, command, packed):
    app.commit({"a": "2"})
    app.branch("other")
    app.branch("doomed")
    if packed:
        app.git("pack-refs", "--all")
    async with watching(by_events(), app) as seen:
        await asyncio.to_thread(app.git, *command.split())
        await seen.next()


async def test_a_first_commit_is_seen(tmp_path):
    empty = git_repository(tmp_path)
    async with watching(by_events(), empty) as seen:
        await asyncio.to_thread(empty.commit, {"a": "1"})
        await seen.next()


async def test_a_branch_in_a_new_directory_is_seen_to_move_again(app):
    async with watching(by_events(), app) as seen:
        await asyncio.to_thread(app.git, "branch", "new/directory/of/it")
        while not await seen.quiet(0.1):
            pass
        await asyncio.to_thread(app.commit, {"a": "2"})
        await seen.next()
        await asyncio.to_thread(app.branch, "new/directory/of/it")
        await seen.next()


async def test_what_moves_no_branch_is_not_seen(app):
    app.write({"a": "changed"})
    async with watching(by_events(), app) as seen:
        for command in ("status", "diff --stat", "add .", "stash list", "log", "gc --auto", "fsck"):
            await asyncio.to_thread(app.git, *command.split())
        assert await seen.quiet(0.3)


async def test_a_commit_in_a_worktree_is_seen(app, tmp_path):
    app.git("worktree", "add", "--quiet", str(tmp_path / "tree"), "-b", "side")
    tree = type(app)(tmp_path / "tree")
    async with watching(by_events(), app) as main, watching(by_events(), tree) as side:
        await asyncio.to_thread(tree.commit, {"a": "2"})
        await main.next()
        await side.next()
        await asyncio.to_thread(app.commit, {"a": "3"})
        await main.next()
        await side.next()


async def test_a_push_into_a_bare_repository_is_seen(app, tmp_path):
    app.git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare.git"))
    app.commit({"a": "2"})
    async with watching(by_events(), tmp_path / "bare.git") as seen:
        await asyncio.to_thread(app.git, "push", "--quiet", str(tmp_path / "bare.git"), "main")
        await seen.next()


@needs_reftable
async def test_a_commit_with_reftable_is_seen_where_git_has_it(tmp_path):
    app = git_repository(tmp_path, {"a": "1"}, options=("--ref-format=reftable",))
    async with watching(by_events(), app) as seen:
        await asyncio.to_thread(app.commit, {"a": "2"})
        await seen.next()


async def test_the_layout_of_reftable_is_watched(app):
    """What git 2.45 and later write there, written by hand."""
    tables = app.path / ".git" / "reftable"
    tables.mkdir()
    (tables / "tables.list").write_text("0x01.ref\n")
    async with watching(by_events(), app) as seen:
        (tables / "tables.list.lock").write_text("0x02.ref\n")
        assert await seen.quiet(0.1)
        (tables / "tables.list.lock").rename(tables / "tables.list")
        await seen.next()
    before = await asyncio.to_thread(look, str(app))
    (tables / "tables.list").write_text("0x03.ref\n0x04.ref\n")
    assert await asyncio.to_thread(look, str(app)) != before


@on_both_loops
async def test_a_repository_that_is_deleted_and_made_anew_is_seen_and_watched_again(tmp_path):
    app = git_repository(tmp_path, {"a": "1"})
    watcher = Watcher(SystemClock(), every=NEVER, alone=0.02)
    async with watching(watcher, app) as seen:
        await asyncio.to_thread(shutil.rmtree, app.path)
        await seen.next()
        while not await seen.quiet(0.1):
            pass
        app = await asyncio.to_thread(git_repository, tmp_path, {"a": "1"})
        await seen.next()
        while not await seen.quiet(0.1):
            pass
        await asyncio.to_thread(app.commit, {"a": "2"})
        await seen.next()


async def test_a_repository_that_is_moved_away_and_back_is_seen(app):
    away = app.path.with_name("away")
    watcher = Watcher(SystemClock(), every=0.05, alone=0.05)
    async with watching(watcher, app) as seen:
        app.path.rename(away)
        await seen.next()
        assert await seen.quiet(0.2)
        away.rename(app.path)
        await seen.next()
        await asyncio.to_thread(app.commit, {"a": "2"})
        await seen.next()


async def test_another_repository_moved_into_its_place_is_watched_instead(app, tmp_path):
    other = git_repository(tmp_path, {"b": "1"}, name="other")
    watcher = Watcher(SystemClock(), every=0.05, alone=0.05)
    async with watching(watcher, app) as seen:
        app.path.rename(tmp_path / "old")
        other.path.rename(app.path)
        await seen.next()
        while not await seen.quiet(0.2):
            pass
        await asyncio.to_thread(app.commit, {"b": "2"})
        await seen.next()


async def test_a_repository_that_is_not_there_yet_is_seen_when_it_comes(tmp_path):
    async with watching(Watcher(SystemClock(), every=NEVER, alone=0.02), tmp_path / "app") as seen:
        await asyncio.to_thread(git_repository, tmp_path, {"a": "1"})
        await seen.next()


class Exhausted:
    """An observer on a machine without a watch to spare."""

    def start(self):
        pass

    def stop(self):
        pass

    def join(self):
        pass

    def unschedule(self, watched):
        pass

    def schedule(self, *_, **__):
        raise OSError(28, "inotify watch limit reached")


async def test_without_watches_to_spare_it_looks_and_says_so_once(app, monkeypatch, caplog):
    monkeypatch.setattr(watch, "Observer", Exhausted)
    watcher = Watcher(SystemClock(), every=NEVER, alone=0.02)
    with caplog.at_level(logging.WARNING):
        async with watching(watcher, app) as seen, watching(watcher, app) as too:
            for number in range(3):
                await asyncio.to_thread(app.commit, {"a": f"number {number}"})
                await seen.next()
                await too.next()
    assert len(caplog.records) == 1
    assert "inotify watch limit reached" in caplog.text
    assert "fs.inotify.max_user_watches" in caplog.text


async def test_a_look_finds_what_no_event_told(app, monkeypatch):
    monkeypatch.setattr(watch.Place, "matters", lambda *_: False)
    watcher = Watcher(SystemClock(), every=0.02, alone=NEVER)
    async with watching(watcher, app) as seen:
        await asyncio.to_thread(app.commit, {"a": "2"})
        await seen.next()
        await asyncio.to_thread(app.git, "commit", "--amend", "--message", "Same size")
        await seen.next()
        assert await seen.quiet(0.1)


async def test_one_observer_serves_all_and_ends_with_the_last(app, tmp_path):
    other = git_repository(tmp_path, {"a": "1"}, name="other")
    await asyncio.to_thread(len, ())  # the pool's threads are not ours
    watcher, before = by_events(), ours()
    async with watching(watcher, app) as one, watching(watcher, other) as two:
        few = ours()
        async with watching(watcher, app), watching(watcher, app.path / ".git") as three:
            assert ours() == few
            await asyncio.to_thread(app.commit, {"a": "2"})
            await one.next()
            await three.next()
        await asyncio.to_thread(app.commit, {"a": "3"})
        await one.next()
        await asyncio.to_thread(other.commit, {"a": "3"})
        await two.next()
    await until(lambda: ours() == before)


def ours() -> int:
    """Threads of the observer and its helpers."""
    return sum(1 for t in threading.enumerate() if type(t).__module__.startswith("watchdog"))


async def test_nothing_is_left_open_after_many_watches(app):
    watcher = by_events()
    async with watching(watcher, app):
        pass
    before = files()
    for _ in range(20):
        async with watching(watcher, app):
            pass
    await until(lambda: files() <= before)
    assert not watcher._notifier._watched


def files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_a_watch_cancelled_while_it_starts_leaves_no_watch(app):
    watcher = by_events()

    async def consume():
        async with aclosing(watcher.watch(str(app))) as changes:
            async for _ in changes:
                pass

    for turns in range(30):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(consume())
            for _ in range(turns):
                await SystemClock().sleep(0)
            await SystemClock().sleep(turns / 20_000)
            task.cancel()
    await until(lambda: not watcher._notifier._watched and watcher._notifier._observer is None)


async def test_very_many_nested_branches_take_no_watch_each(app, monkeypatch):
    monkeypatch.setattr(watch, "MOST_DIRECTORIES", 3)
    for name in ("a/b", "c/d", "e/f"):
        app.branch(name)
    sight = await asyncio.to_thread(look, str(app))
    assert [place.recursive for place in sight.places] == [False, False]
    async with watching(by_events(), app) as seen:
        await asyncio.to_thread(app.commit, {"a": "2"})
        await seen.next()


def test_references_without_a_directory_for_branches_are_looked_at(app):
    app.git("pack-refs", "--all")
    (app.path / ".git" / "refs" / "heads").rmdir()
    assert not look(str(app)).empty


@pytest.mark.parametrize("inside", [".", "web", ".git", ".git/refs"])
def test_finds_the_git_directory_from_anywhere_in_a_repository(app, inside):
    app.write({"web/x": ""})
    assert common_directory(str(app.path / inside)) == app.path / ".git"


def test_finds_no_git_directory_where_there_is_none(tmp_path):
    assert common_directory(str(tmp_path)) is None
    assert common_directory(str(tmp_path / "gone")) is None
    (tmp_path / ".git").mkdir()
    assert common_directory(str(tmp_path)) is None
    assert look(str(tmp_path)).empty
