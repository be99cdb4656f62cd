"""The store's contract, kept by the real one and the fake, and what only the real one can do."""

import asyncio
import sqlite3
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given, settings, strategies as st

from emulator.drivers.store import documents
from emulator.drivers.store.database import FILE_NAME, Database
from emulator.model.configuration import (
    AutoScaling,
    CodeSource,
    CodeValues,
    ConfigurationSource,
    Extensions,
    HealthCheck,
    HealthProtocol,
    ImageSource,
    ServiceConfiguration,
)
from emulator.model.errors import StoreError
from emulator.model.event import Event
from emulator.model.identifiers import Epoch, InstanceId, OperationId, RevisionId, ServiceId
from emulator.model.operation import Operation, OperationStatus, OperationType
from emulator.model.revision import Revision, SourceTree
from emulator.model.service import Service, ServiceStatus
from emulator.model.timeline import Timeline
from emulator.model.usage import Meter, UsageInterval
from emulator.ports import Heartbeat, Store
from tests.fakes.store import FakeStore
from tests.helpers import turn

ONE, TWO = ServiceId("1" * 32), ServiceId("2" * 32)
CODE = CodeSource(
    repository="file:///app",
    branch="main",
    configuration_source=ConfigurationSource.API,
    values=CodeValues(runtime="PYTHON_311", env=MappingProxyType({"A": "ä\ud800\0"})),
)


def a_service(service=ONE, **changes) -> Service:
    values = {
        "id": service,
        "name": f"hello-{service[:1]}",
        "region": "us-east-1",
        "account": "000000000000",
        "label": "labellabel",
        "port": 9000,
        "status": ServiceStatus.RUNNING,
        "configuration": ServiceConfiguration(source=CODE, tags=MappingProxyType({"k": "v"})),
        "serving": ServiceConfiguration(
            source=ImageSource(identifier="demo:dev"),
            health_check=HealthCheck(protocol=HealthProtocol.HTTP),
            scaling=AutoScaling(min_size=0),
            extensions=Extensions(freeze_after=None),
        ),
        "created_at": Epoch(1.25),
        "updated_at": Epoch(2.5),
    }
    return Service(**(values | changes))


def a_revision(name="r1", service=ONE, **changes) -> Revision:
    source = SourceTree(repository="/app", tree="abc", links=(("node_modules", "/deps"),))
    values = {"id": RevisionId(name), "service": service, "image": "sha256:1", "source": source}
    return Revision(**(values | {"command": ("python", "-m", "app"), "created_at": 3.0} | changes))


def an_operation(name="o1", service=ONE, **changes) -> Operation:
    return Operation(
        id=OperationId(name),
        service=service,
        type=OperationType.CREATE_SERVICE,
        started_at=Epoch(1.0),
        updated_at=Epoch(1.0),
        **changes,
    )


def an_interval(start=1.0, service=ONE, instance="i1", **changes) -> UsageInterval:
    values = {"service": service, "instance": instance and InstanceId(instance), "start": start}
    return UsageInterval(
        **({"meter": Meter.ACTIVE, "cpu": 1024, "memory": 2048} | values | changes)
    )


@pytest.fixture
async def database(tmp_path):
    opened = await Database.open(tmp_path)
    yield opened
    await opened.close()


@pytest.fixture(params=["fake", "real"])
async def store(request, tmp_path):
    if request.param == "fake":
        yield FakeStore()
        return
    opened = await Database.open(tmp_path)
    yield opened
    await opened.close()


class TestContract:
    async def test_returns_a_service_as_it_was_saved(self, store: Store):
        await store.save(a_service())
        assert await store.services() == (a_service(),)

    async def test_a_later_save_replaces_and_keeps_the_order(self, store: Store):
        await store.save(a_service(ONE), a_service(TWO))
        await store.save(a_service(ONE, status=ServiceStatus.DELETED))
        found = await store.services()
        assert [service.id for service in found] == [ONE, TWO]
        assert found[0].status is ServiceStatus.DELETED

    async def test_revisions_come_oldest_first_and_by_service(self, store: Store):
        revisions = [a_revision(f"r{number}") for number in (9, 10, 11)]
        other = a_revision("r9", TWO, source=None, command=None)
        await store.save(a_service(ONE), a_service(TWO), *revisions, other)
        assert await store.revisions(ONE) == tuple(revisions)
        assert await store.revisions(TWO) == (other,)

    async def test_operations_come_newest_first_and_a_change_does_not_move_them(self, store: Store):
        first, second = an_operation("b"), an_operation("a")
        await store.save(a_service(), first)
        await store.save(second)
        await store.save(first.moved(OperationStatus.IN_PROGRESS, now=Epoch(2.0)))
        found = await store.operations(ONE)
        assert [(o.id, o.status.value) for o in found] == [("a", "PENDING"), ("b", "IN_PROGRESS")]

    async def test_events_are_numbered_as_they_arrive(self, store: Store):
        texts = ("first", "second \ud800", "third")
        await store.save(*(Event(service=ONE, at=Epoch(5.0), text=text) for text in texts[:2]))
        await store.save(Event(service=TWO, at=Epoch(6.0), text="other"))
        await store.save(Event(service=ONE, at=Epoch(7.0), text=texts[2]))
        one, two, three = await store.events(ONE)
        assert 0 < one.id < two.id < three.id
        assert (one.text, three.text) == ("first", "third")
        assert two.text.startswith("second ")
        assert await store.events(ONE, after=two.id) == (three,)

    async def test_an_event_with_an_id_replaces_itself(self, store: Store):
        await store.save(Event(service=ONE, at=Epoch(5.0), text="before"))
        (event,) = await store.events(ONE)
        await store.save(replace(event, text="after"))
        assert await store.events(ONE) == (replace(event, text="after"),)

    async def test_closing_an_interval_replaces_the_open_one(self, store: Store):
        await store.save(an_interval(), an_interval(meter=Meter.PROVISIONED))
        await store.save(an_interval(end=4.5))
        found = await store.usage(ONE)
        assert found == (an_interval(end=4.5), an_interval(meter=Meter.PROVISIONED))

    async def test_usage_comes_oldest_first_of_one_or_all_services(self, store: Store):
        build = an_interval(0.5, TWO, None, meter=Meter.BUILD, end=0.75)
        late, early = an_interval(3.0), an_interval(2.0, instance="i2")
        await store.save(late, early, build, build)
        assert await store.usage() == (build, early, late)
        assert await store.usage(ONE) == (early, late)

    async def test_only_the_last_heartbeat_counts(self, store: Store):
        assert await store.heartbeat() is None
        await store.save(Heartbeat(Epoch(1.5)))
        await store.save(Heartbeat(Epoch(2.5)))
        assert await store.heartbeat() == 2.5

    async def test_only_the_last_timeline_counts(self, store: Store):
        assert await store.timeline() == Timeline()
        timeline = Timeline().turned(10, 3610.5, 60.0)
        await store.save(timeline.turned(5, 6))
        await store.save(timeline, Heartbeat(Epoch(1.5)))
        assert await store.timeline() == timeline

    async def test_forgets_every_row_of_one_service_and_none_of_another(self, store: Store):
        for number, service in enumerate((ONE, TWO)):
            await store.save(
                a_service(service),
                a_revision(service=service),
                an_operation(f"o{number}", service),
                Event(service=service, at=Epoch(1.0), text="x"),
                an_interval(service=service),
            )
        await store.forget(ONE)
        await store.forget(ONE)
        assert [service.id for service in await store.services()] == [TWO]
        readers = (store.revisions, store.operations, store.events, store.usage)
        assert [len(await read(ONE)) for read in readers] == [0, 0, 0, 0]
        assert [len(await read(TWO)) for read in readers] == [1, 1, 1, 1]

    async def test_saves_all_or_nothing(self, store: Store):
        orphan = an_operation(service=TWO)
        with pytest.raises(StoreError):
            await store.save(a_service(ONE), Heartbeat(Epoch(1.0)), orphan)
        assert await store.services() == ()
        assert await store.heartbeat() is None
        await store.save(orphan, a_service(TWO))
        assert await store.operations(TWO) == (orphan,)

    async def test_saving_nothing_is_fine(self, store: Store):
        await store.save()
        assert await store.services() == ()


class TestDurability:
    async def test_everything_and_the_owner_survive_a_restart(self, tmp_path):
        first = await Database.open(tmp_path)
        saved = (a_service(), a_revision(), an_operation(), an_interval())
        await first.save(Timeline().turned(10, 3610.5, 60.0))
        await first.save(*saved, Event(service=ONE, at=Epoch(1.0), text="x"), Heartbeat(Epoch(9.0)))
        await first.close()
        again = await Database.open(tmp_path)
        found = (await again.services(), await again.revisions(ONE), await again.operations(ONE))
        assert tuple(one for (one,) in (*found, await again.usage())) == saved
        assert len(await again.events(ONE)) == 1
        assert await again.heartbeat() == 9.0
        assert (await again.timeline()).at(11) == 3670.5
        assert again.owner == first.owner != ""
        await again.close()

    async def test_two_state_directories_have_two_owners(self, tmp_path, database):
        other = await Database.open(tmp_path / "other")
        assert other.owner != database.owner
        await other.close()

    async def test_what_another_connection_reads_is_what_was_saved(self, database):
        await database.save(a_service())
        reader = sqlite3.connect(database.path)
        assert reader.execute("SELECT count(*) FROM service").fetchone() == (1,)
        reader.close()

    async def test_a_cancelled_save_happens_wholly_or_not_at_all(self, database):
        save = asyncio.ensure_future(  # noqa: TID251 - to be cancelled
            database.save(a_service(), *(an_interval(float(n)) for n in range(500)))
        )
        await turn()
        save.cancel()
        await asyncio.gather(save, return_exceptions=True)
        assert (len(await database.services()), len(await database.usage())) in {(0, 0), (1, 500)}

    async def test_saves_at_the_same_time_do_not_mix(self, database):
        await asyncio.gather(*(database.save(an_interval(float(n))) for n in range(50)))
        assert [interval.start for interval in await database.usage()] == [*range(50)]

    async def test_directory_and_files_are_private(self, tmp_path):
        state_dir = tmp_path / "deep" / "state"
        opened = await Database.open(state_dir)
        await opened.save(a_service())
        files = [*state_dir.iterdir()]
        assert len(files) > 1  # also those beside the database
        assert [path.stat().st_mode & 0o077 for path in (state_dir, *files)] == [0] * (
            len(files) + 1
        )
        await opened.close()


class TestRefusals:
    @pytest.mark.parametrize("content", [b"this is not a database" * 100, b"SQLite format 3\0" * 9])
    async def test_leaves_a_damaged_file_alone_and_says_how_to_go_on(self, tmp_path, content):
        path = tmp_path / FILE_NAME
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"damaged.*apprunner reset") as refusal:
            await Database.open(tmp_path)
        assert str(path) in str(refusal.value)
        assert path.read_bytes() == content

    async def test_refuses_a_file_whose_pages_are_garbage(self, tmp_path):
        database = await Database.open(tmp_path)
        await database.save(a_service(), *(an_interval(float(n)) for n in range(500)))
        await database.close()
        path = tmp_path / FILE_NAME
        content = bytearray(path.read_bytes())
        content[8192:20000] = b"\xff" * (20000 - 8192)
        path.write_bytes(content)
        with pytest.raises(StoreError, match="damaged"):
            await Database.open(tmp_path)
        assert path.read_bytes() == content

    async def test_refuses_a_newer_version(self, tmp_path):
        await (await Database.open(tmp_path)).close()
        self._execute(tmp_path, "PRAGMA user_version = 99")
        with pytest.raises(StoreError, match="newer emulator"):
            await Database.open(tmp_path)

    async def test_refuses_the_database_of_another_program(self, tmp_path):
        self._execute(tmp_path, "CREATE TABLE service (x)")
        with pytest.raises(StoreError, match="another program"):
            await Database.open(tmp_path)

    async def test_says_that_the_disk_is_full_and_keeps_what_it_had(self, database):
        await database.save(a_service())
        await database._run(lambda: database._opened().execute("PRAGMA max_page_count = 1"))
        with pytest.raises(StoreError, match="disk is full"):
            await database.save(*(an_interval(float(n)) for n in range(5000)))
        assert await database.usage() == ()
        await database._run(lambda: database._opened().execute("PRAGMA max_page_count = 100000"))
        await database.save(an_interval())
        assert len(await database.usage()) == 1

    async def test_a_document_that_the_model_refuses_is_damage(self, database):
        await database.save(a_service())
        self._execute(database.path.parent, "UPDATE service SET document = '{}'")
        with pytest.raises(StoreError, match="Service without"):
            await database.services()

    async def test_a_place_where_nothing_can_be_written_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="file"):
            await Database.open(tmp_path / "file" / "state")

    async def test_after_closing_it_says_so(self, tmp_path):
        database = await Database.open(tmp_path)
        await database.close()
        await database.close()
        with pytest.raises(StoreError, match="closed"):
            await database.services()

    @staticmethod
    def _execute(state_dir, statement):
        connection = sqlite3.connect(state_dir / FILE_NAME, isolation_level=None)
        connection.execute(statement)
        connection.close()


class TestDocuments:
    def test_ignores_members_that_it_does_not_know(self):
        text = documents.write(a_service()).replace('{"id"', '{"future":{"x":[1]},"id"', 1)
        assert documents.read(Service, text) == a_service()

    def test_missing_members_take_the_default(self):
        full = documents.write(AutoScaling(max_concurrency=7, min_size=1))
        assert documents.read(AutoScaling, full.replace('"min_size":1,', "")) == AutoScaling(
            max_concurrency=7
        )

    @pytest.mark.parametrize(
        "text",
        [
            "nonsense",
            "[]",
            "{}",
            '{"source":{"is":"TapeSource"}}',
            '{"source":{"is":"ImageSource","identifier":7}}',
            '{"source":{"is":"ImageSource","identifier":"x","env":["x"]}}',
            '{"source":{"is":"ImageSource","identifier":"x"},"health_check":{"protocol":"SCTP"}}',
        ],
    )
    def test_refuses_what_does_not_fit(self, text):
        with pytest.raises(documents.DocumentError):
            documents.read(ServiceConfiguration, text)

    def test_a_flag_is_not_a_number(self):
        with pytest.raises(documents.DocumentError):
            documents.read(AutoScaling, '{"min_size":true}')

    def test_mappings_come_back_immutable(self):
        found = documents.read(Service, documents.write(a_service()))
        with pytest.raises(TypeError):
            found.configuration.tags["x"] = "y"

    @settings(max_examples=100)
    @given(
        st.builds(
            Revision,
            env=st.dictionaries(st.text(), st.text()),
            command=st.none() | st.lists(st.text()).map(tuple),
            source=st.none()
            | st.builds(SourceTree, links=st.lists(st.tuples(st.text(), st.text())).map(tuple)),
            created_at=st.floats(allow_nan=False, allow_infinity=False),
        )
    )
    def test_whatever_is_written_is_read_again(self, revision):
        assert documents.read(Revision, documents.write(revision)) == revision
