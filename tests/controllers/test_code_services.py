"""What commits bring about, over a repository and a machine in memory, in virtual time."""

from dataclasses import replace

import pytest

from emulator.model.configuration import CodeValues, ConfigurationSource
from emulator.model.errors import BuildError, EngineError, InvalidRequestException
from emulator.model.service import ServiceStatus
from tests.fakes.emulators import SETTINGS, Emulator, Machine, code
from tests.fakes.world import Behaviour

pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]
APP = {"requirements.txt": "flask\n", "app.py": "print(1)\n"}


@pytest.fixture
def machine():
    made = Machine()
    made.first = made.repository.commit_files("/repo", APP, "First")
    return made


@pytest.fixture
async def emulator(machine):
    async with Emulator(machine) as running:
        yield running


async def created(emulator):
    await emulator.platform.create("hello", code())
    return await emulator.at_rest()


def serving(emulator):
    ledger = emulator.platform.ledger("hello")
    revision = ledger.revisions.get(ledger.service.revision)
    return revision.commit if revision else None


async def serves(emulator, commit, *, within=30.0):
    return await emulator.until(lambda: serving(emulator) == commit, within=within)


async def test_a_commit_is_deployed_by_itself(emulator, machine):
    await created(emulator)
    assert serving(emulator) == machine.first
    second = machine.repository.commit_files("/repo", {"app.py": "print(2)\n"}, "Second")
    assert await serves(emulator, second)
    assert (await emulator.operations())[0] == "START_DEPLOYMENT SUCCEEDED"
    assert f"Commit {second[:7]} (Second) is deployed." in await emulator.events()


async def test_a_source_only_commit_builds_nothing(emulator, machine):
    await created(emulator)
    builds = len(machine.builder.built)
    second = machine.repository.commit_files("/repo", {"app.py": "print(2)\n"})
    assert await serves(emulator, second)
    assert len(machine.builder.built) == builds


async def test_a_dependency_change_builds(emulator, machine):
    await created(emulator)
    builds = len(machine.builder.built)
    second = machine.repository.commit_files("/repo", {"requirements.txt": "flask\nredis\n"})
    assert await serves(emulator, second)
    assert len(machine.builder.built) == builds + 1
    assert [cache.name for cache in machine.builder.built[-1].caches] == ["pip"]


async def test_the_newest_of_the_commits_that_come_during_a_deployment_wins(emulator, machine):
    await created(emulator)
    commits = [
        machine.repository.commit_files("/repo", {"requirements.txt": f"flask=={n}\n"}, f"c{n}")
        for n in range(1)
    ]
    await emulator.until(lambda: emulator.platform.ledger("hello").operation is not None, within=5)
    for n in range(1, 4):
        files = {"requirements.txt": f"flask=={n}\n"}
        commits.append(machine.repository.commit_files("/repo", files, f"c{n}"))
        await emulator.machine.clock.sleep(0.3)
    assert await serves(emulator, commits[-1])
    await emulator.at_rest()
    deployed = {r.commit for r in emulator.platform.ledger("hello").revisions.values()}
    assert deployed == {machine.first, commits[2], commits[-1]}  # two gave way, the third did not


async def test_a_commit_during_a_pause_is_not_deployed(emulator, machine):
    await created(emulator)
    await emulator.platform.pause("hello")
    await emulator.at_rest()
    machine.repository.commit_files("/repo", {"app.py": "print(2)\n"})
    await emulator.machine.clock.sleep(5)
    await emulator.platform.resume("hello")
    await emulator.at_rest()
    await emulator.machine.clock.sleep(5)
    assert serving(emulator) == machine.first


async def test_no_automatic_deployment_where_it_is_off(emulator, machine):
    await emulator.platform.create("hello", replace(code(), auto_deploy=False))
    await emulator.at_rest()
    second = machine.repository.commit_files("/repo", {"app.py": "print(2)\n"})
    await emulator.machine.clock.sleep(10)
    assert serving(emulator) == machine.first
    await emulator.platform.start_deployment("hello")
    await emulator.at_rest()
    assert serving(emulator) == second


async def test_a_commit_outside_the_source_directory_changes_nothing(emulator, machine):
    files = {f"services/web/{name}": text for name, text in APP.items()}
    machine.repository.commit_files("/mono", files)
    wanted = code("/mono")
    source = replace(wanted.source, source_directory="/services/web")
    await emulator.platform.create("hello", replace(wanted, source=source))
    await emulator.at_rest()
    machine.repository.commit_files("/mono", {"README.md": "outside\n"}, "Outside")
    await emulator.machine.clock.sleep(5)
    assert any("changes nothing in the source directory" in e for e in await emulator.events())
    inside = machine.repository.commit_files("/mono", {"services/web/app.py": "print(2)\n"})
    assert await serves(emulator, inside)


async def test_a_failed_build_keeps_the_old_version_and_says_why(emulator, machine):
    await created(emulator)
    error = BuildError("The command 'pip install' ended with exit code 1.", exit_code=1)

    async def fail(_request, _on_line):
        raise error

    machine.builder.build = fail
    machine.repository.commit_files("/repo", {"requirements.txt": "nonsense\n"})
    failed = "START_DEPLOYMENT ROLLBACK_SUCCEEDED"
    await emulator.machine.clock.sleep(5)
    assert (await emulator.operations())[0] == failed
    assert any("exit code 1" in e for e in await emulator.events())
    assert serving(emulator) == machine.first


async def test_a_commit_mends_what_could_not_be_created(emulator, machine):
    machine.repository.commit_files("/repo", {"apprunner.yaml": "version: 1.0\n"})
    await emulator.platform.create("hello", code())
    assert (await emulator.at_rest()).status is ServiceStatus.CREATE_FAILED
    mended = machine.repository.commit_files("/repo", {"apprunner.yaml": None})
    assert await serves(emulator, mended)


FILE = """\
version: 1.0
runtime: {runtime}
build:
  commands:
    build:
      - {build}
run:
  command: {command}
"""
SHELL_HINT = "App Runner runs the start command without a shell, split on blanks"


@pytest.mark.observed
async def test_a_start_that_fails_for_want_of_a_shell_says_so_in_its_reason(emulator, machine):
    text = FILE.format(runtime="nodejs22", build="npm ci", command="cd web && node app.js")
    commit = machine.repository.commit_files("/repo", {"apprunner.yaml": text})
    machine.world.behaviours[commit] = Behaviour(boot=9, crashes_after=0.1, exit_code=127)
    await created(emulator)
    events = await emulator.events()
    [warning] = [event for event in events if event.startswith("Warning: ")]
    assert f"apprunner.yaml:8 (run.command): {SHELL_HINT}, so `cd`, `&&`" in warning
    [failure] = [event for event in events if "Failure reason" in event]
    assert f"exit code: 127. Probably because: {SHELL_HINT}" in failure


@pytest.mark.documented
async def test_a_start_that_fails_for_lost_packages_says_so_and_one_that_works_does_not(
    emulator, machine
):
    text = FILE.format(
        runtime="python311", build="pip3 install -r requirements.txt", command="python3 app.py"
    )
    machine.repository.commit_files("/repo", {"apprunner.yaml": text})
    assert (await created(emulator)).status is ServiceStatus.RUNNING
    assert not [event for event in await emulator.events() if "Probably" in event]
    commit = machine.repository.commit_files("/repo", {"app.py": "import flask\n"})
    machine.world.behaviours[commit] = Behaviour(boot=9, crashes_after=0.1)
    assert await emulator.until(lambda: emulator.platform.ledger("hello").operation, within=5)
    await emulator.at_rest()
    [failure] = [event for event in await emulator.events() if "Failure reason" in event]
    assert "exit code: 1. Probably because: `pip3 install -r requirements.txt`" in failure


async def test_what_listens_but_fails_before_it_accepts_a_connection_is_not_deployed(
    emulator, machine
):
    """As gunicorn does whose workers cannot import the application."""
    await created(emulator)
    commit = machine.repository.commit_files("/repo", {"app.py": "def\n"})
    machine.world.behaviours[commit] = Behaviour(accepts_after=9, crashes_after=1, exit_code=3)
    await emulator.machine.clock.sleep(10)
    assert (await emulator.operations())[0] == "START_DEPLOYMENT ROLLBACK_SUCCEEDED"
    assert serving(emulator) == machine.first


async def test_what_is_slow_to_accept_is_healthy_when_app_runner_would_look(emulator, machine):
    machine.world.behaviours[machine.first] = Behaviour(accepts_after=60)
    assert (await created(emulator)).status is ServiceStatus.RUNNING


async def test_an_engine_that_cannot_start_the_command_says_what_it_may_be(emulator, machine):
    text = FILE.format(runtime="nodejs22", build="npm ci", command="NODE_ENV=x node app.js")
    machine.repository.commit_files("/repo", {"apprunner.yaml": text})
    error = EngineError('exec: "NODE_ENV=x": executable file not found in $PATH')

    async def fail(_instance, _revision):
        raise error

    machine.instances.start = fail
    await created(emulator)
    [failure] = [event for event in await emulator.events() if "Failure reason" in event]
    assert "executable file not found in $PATH. Probably because:" in failure
    assert "set it in run.env" in failure


@pytest.mark.documented
async def test_with_the_api_as_source_the_file_may_hold_anything(emulator, machine):
    machine.repository.commit_files("/repo", {"apprunner.yaml": "\t: not YAML"})
    wanted = code()
    source = replace(
        wanted.source,
        configuration_source=ConfigurationSource.API,
        values=CodeValues(runtime="PYTHON_3", start_command="python app.py"),
    )
    await emulator.platform.create("hello", replace(wanted, source=source))
    assert (await emulator.at_rest()).status is ServiceStatus.RUNNING
    events = " ".join(await emulator.events())
    assert "apprunner.yaml is not read: ConfigurationSource is API." in events
    assert "Reading apprunner.yaml" not in events


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"apprunner.yaml": "#" * 2_000_001},
            "apprunner.yaml: the file has 2000001 bytes; at most 1000000 are read",
        ),
        ({"Dockerfile": "#" * 2_000_001}, "Dockerfile: the file is too large"),
    ],
)
async def test_a_file_too_large_to_read_is_not_overlooked(emulator, machine, files, told):
    machine.repository.commit_files("/repo", files)
    assert (await created(emulator)).status is ServiceStatus.CREATE_FAILED
    assert told in " ".join(await emulator.events())


async def test_a_symbolic_link_to_nowhere_is_no_configuration(emulator, machine):
    machine.repository.commit_files("/repo", {"apprunner.yaml": "conf/apprunner.yaml"})
    listed = machine.repository.files

    async def linked(repository, tree):
        found = await listed(repository, tree)
        return [replace(f, mode="120000") if f.path == "apprunner.yaml" else f for f in found]

    machine.repository.files = linked
    await created(emulator)
    told = "apprunner.yaml: a symbolic link that leads to no file: put the file itself here"
    assert told in " ".join(await emulator.events())


async def test_planning_reads_no_more_than_it_can_keep(emulator, machine):
    large = "<Project/>" + " " * 1_999_000
    projects = {f"p{n:02}.csproj": large for n in range(12)}
    machine.repository.commit_files("/repo", projects)
    read, sizes = machine.repository.read, []

    async def counted(repository, blob):
        content = await read(repository, blob)
        sizes.append(len(content))
        return content

    machine.repository.read = counted
    assert (await created(emulator)).status is ServiceStatus.RUNNING
    assert 10_000_000 < sum(sizes) <= 20_000_000


ANOTHER_PYTHON = {
    **APP,
    "apprunner.yaml": "version: 1.0\nruntime: python3\nbuild:\n  commands:\n    build: [echo]\n"
    "run:\n  runtime-version: 3.8.16\n  command: python app.py\n",
}
OTHER_VERSION = (
    "runtime-version asks for 3.8.16, but python:3.8.16 cannot be had here, and the base made from "
    "Debian's packages has 3.11"
)


def images(machine):
    return [tag for tag in machine.world.images if tag.startswith("apprunner-emulator/")]


async def test_as_many_images_are_kept_as_was_asked_for_and_what_never_served_is_none(machine):
    async with Emulator(machine, settings=replace(SETTINGS, keep=2)) as emulator:
        await created(emulator)
        for number in range(4):
            more = {"requirements.txt": f"flask\nredis=={number}\n"}
            commit = machine.repository.commit_files("/repo", more)
            assert await serves(emulator, commit)
        made = images(machine)
        assert len(made) == 5
        failed = await fails_to_start(emulator, machine)
        await emulator.platform._reaper.sweep(emulator.platform.ledgers())
        assert sorted(images(machine)) == sorted(made[-2:])
        with pytest.raises(InvalidRequestException, match="no kept revision"):
            await emulator.platform.rollback("hello", to=failed)
        await emulator.platform.rollback("hello")
        assert (await emulator.at_rest()).revision == "r4"
        await emulator.platform._reaper.sweep(emulator.platform.ledgers())
        assert sorted(images(machine)) == sorted(made[-2:])


async def test_no_two_services_share_an_image_that_one_of_them_may_remove(emulator, machine):
    await created(emulator)
    await emulator.platform.create("Hello", code())
    await emulator.at_rest("Hello")
    assert len(images(machine)) == 2
    await emulator.platform.delete("hello")
    await emulator.at_rest()
    await created(emulator)
    assert len(images(machine)) == 3


async def fails_to_start(emulator, machine):
    """A commit that builds and crashes; the id of its revision."""
    commit = machine.repository.commit_files("/repo", {"requirements.txt": "broken\n"})
    machine.world.behaviours[commit] = Behaviour(boot=9, crashes_after=1, exit_code=3)
    await emulator.machine.clock.sleep(20)
    assert (await emulator.operations())[0] == "START_DEPLOYMENT ROLLBACK_SUCCEEDED"
    return list(emulator.platform.ledger("hello").revisions)[-1]


async def test_another_version_of_the_language_goes_on_and_is_told_of(emulator, machine):
    machine.builder.unreachable.add("python:3.8")
    machine.repository.commit_files("/repo", ANOTHER_PYTHON)
    assert (await created(emulator)).status is ServiceStatus.RUNNING
    assert f"Warning: {OTHER_VERSION}, which is used." in await emulator.events()


async def test_the_version_that_was_asked_for_is_nothing_to_tell_of(emulator, machine):
    machine.repository.commit_files("/repo", ANOTHER_PYTHON)
    await created(emulator)
    assert not [event for event in await emulator.events() if OTHER_VERSION in event]


async def test_strict_refuses_another_version_of_the_language_before_a_base_is_made(machine):
    machine.builder.unreachable.add("python:3.8")
    machine.repository.commit_files("/repo", ANOTHER_PYTHON)
    async with Emulator(machine, settings=replace(SETTINGS, strict=True)) as emulator:
        assert (await created(emulator)).status is ServiceStatus.CREATE_FAILED
        [failure] = [event for event in await emulator.events() if OTHER_VERSION in event]
        assert "`strict = true` refuses that: bring python:3.8.16 here by `docker load`" in failure
        assert not machine.builder.made


@pytest.mark.documented
@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "there is no apprunner.yaml, and App Runner needs one"),
        ({"Dockerfile": "FROM x\n"}, "there is no apprunner.yaml, and App Runner needs one"),
        (
            {"apprunner.yaml": FILE.format(runtime="python311", build="pip -V", command="x")},
            "apprunner.yaml:6 (build.commands.build): this runtime has no `pip` on App Runner",
        ),
    ],
)
async def test_strict_refuses_what_only_works_here(machine, files, told):
    machine.repository.commit_files("/repo", files)
    async with Emulator(machine, settings=replace(SETTINGS, strict=True)) as emulator:
        assert (await created(emulator)).status is ServiceStatus.CREATE_FAILED
        [failure] = [event for event in await emulator.events() if "Failure reason" in event]
        assert told in failure
        assert "`strict = true` refuses that." in failure


async def test_a_repository_that_goes_away_is_told_once_and_found_again(emulator, machine):
    await created(emulator)
    machine.repository.take_away("/repo")
    await emulator.machine.clock.sleep(60)
    told = [e for e in await emulator.events() if "goes on running" in e]
    assert len(told) == 1
    machine.repository.bring_back("/repo")
    second = machine.repository.commit_files("/repo", {"app.py": "print(2)\n"})
    assert await serves(emulator, second)


async def test_a_rewritten_branch_is_followed(emulator, machine):
    await created(emulator)
    second = machine.repository.commit_files("/repo", {"app.py": "print(2)\n"})
    assert await serves(emulator, second)
    await emulator.at_rest()
    machine.repository.branch("/repo", "main", machine.first)
    assert await serves(emulator, machine.first)


async def test_what_is_not_a_repository_is_refused_at_once(emulator):
    with pytest.raises(InvalidRequestException):
        await emulator.platform.create("hello", code("/nothing"))
    assert emulator.platform.services() == ()


async def test_the_build_log_is_kept(emulator, machine):
    service = await created(emulator)
    operations = await machine.store.operations(service.id)
    stream = f"deployment/{operations[0].deployment_id}"
    assert await machine.logs.tail(service.id, stream, 5) == ("[Build] Step 1/1 : built",)


async def test_without_a_queue_a_commit_during_an_operation_is_skipped_as_on_aws(machine):
    unqueued = replace(code(), extensions=replace(code().extensions, queue_commits=False))
    async with Emulator(machine) as emulator:
        await emulator.platform.create("hello", unqueued)
        await emulator.at_rest()
        first = machine.repository.commit_files("/repo", {"requirements.txt": "flask==1\n"}, "c1")
        ledger = emulator.platform.ledger("hello")
        assert await emulator.until(lambda: ledger.operation is not None, within=5)
        second = machine.repository.commit_files("/repo", {"app.py": "print(2)\n"}, "c2")
        assert await serves(emulator, first)
        assert not await serves(emulator, second, within=10)
        told = f"Commit {second[:7]} (c2) is not deployed: an operation is in progress"
        assert any(text.startswith(told) for text in await emulator.events())


async def test_a_failed_update_to_another_branch_goes_on_watching_the_old_one(machine):
    machine.repository.branch("/repo", "broken", machine.first)
    other = replace(code().source, branch="broken")
    async with Emulator(machine) as emulator:
        await created(emulator)
        machine.world.behaviours[machine.first] = Behaviour(crashes_after=0.1)
        await emulator.platform.update("hello", replace(code(), source=other))
        await emulator.at_rest()
        assert (await emulator.operations())[0] == "UPDATE_SERVICE ROLLBACK_SUCCEEDED"
        second = machine.repository.commit_files("/repo", {"app.py": "print(2)\n"}, "Second")
        assert await serves(emulator, second)
        assert len(await emulator.operations()) == 3
