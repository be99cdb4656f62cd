"""Buildpacks as data: those that there are, and what a wrong one is told."""

import re

import pytest
import tomli

from emulator.decisions.configuration_schema import RELEASES, agree
from emulator.drivers import buildpacks
from emulator.model.build import BaseImage, BuildProcess, Cache, Tools
from emulator.model.errors import ConfigurationError

GOOD = """\
runtime = "cobol1"

[[runtimes]]
name = "cobol1"
api = "COBOL_1"
process = "original"
[runtimes.base]
image = "cobol:1"
image_version = "1.2"
completion = ["RUN true"]
packages = ["gnucobol"]
packages_version = { bookworm = "1.1", trixie = "1.3" }
setup = ["true"]

[[dependencies]]
pattern = "cobol install"
inputs = ["deps.txt"]
[dependencies.refuse]
"deps.txt" = "local"

[[caches]]
name = "cobol"
variables = { COBOL_CACHE = "{cache}/x" }
exclusive = true
programs = { cob = "run" }
unless = "COBOL_CACHE"

[[rules]]
because = "there is a main.cob"
files = ["main.cob"]
absent = ["main.c"]
build = ["cobol install"]
command = "cobol main.cob"
[rules.contains]
"main.cob" = "PROGRAM"
"""


def write(folder, text, name="cobol"):
    path = folder / name / "buildpack.toml"
    (path.parent / "programs").mkdir(parents=True, exist_ok=True)
    (path.parent / "programs" / "run").write_text("#!/bin/sh\n")
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def ours():
    return {pack.name: pack for pack in buildpacks.load(buildpacks.folder())}


def test_a_new_language_is_a_new_folder(tmp_path):
    write(tmp_path, GOOD)
    (pack,) = buildpacks.load(tmp_path)
    (runtime,) = pack.runtimes
    assert (pack.name, pack.runtime) == ("cobol", "cobol1")
    assert runtime.base == BaseImage(
        image="cobol:1",
        image_version="1.2",
        completion=("RUN true",),
        packages=("gnucobol",),
        packages_version="1.1",
        setup=("true",),
    )
    assert runtime.process is BuildProcess.ORIGINAL
    assert pack.dependencies[0].refuse == {"deps.txt": "local"}
    assert pack.caches == (
        Cache(
            name="cobol",
            variables={"COBOL_CACHE": "{cache}/x"},
            exclusive=True,
            programs={"cob": "#!/bin/sh\n"},
            unless="COBOL_CACHE",
        ),
    )
    assert pack.rules[0].contains == {"main.cob": "PROGRAM"}
    assert pack.rules[0].absent == ("main.c",)
    assert pack.rules[0].port == 8080


@pytest.mark.parametrize(
    ("suite", "version"), [("bookworm", "1.1"), ("trixie", "1.3"), ("forky", "")]
)
def test_what_debian_has_depends_on_its_release(tmp_path, suite, version):
    write(tmp_path, GOOD)
    (pack,) = buildpacks.load(tmp_path, suite=suite)
    assert pack.runtimes[0].base.packages_version == version


def test_or_does_not_depend_on_it(tmp_path):
    version = 'packages_version = { bookworm = "1.1", trixie = "1.3" }'
    write(tmp_path, GOOD.replace(version, 'packages_version = "7"'))
    (pack,) = buildpacks.load(tmp_path, suite="forky")
    assert pack.runtimes[0].base.packages_version == "7"


def test_every_base_has_the_common_tools(tmp_path):
    write(tmp_path, GOOD)
    write(tmp_path, GOOD.replace("cobol1", "cobol2"), "newer")
    (tmp_path / "tools.toml").write_text('packages = ["make"]\nsetup = ["make x"]\n')
    tools = Tools(packages=("make",), setup=("make x",))
    assert [p.runtimes[0].base.tools for p in buildpacks.load(tmp_path)] == [tools, tools]


def test_a_wrong_list_of_tools_is_refused_with_its_key(tmp_path):
    write(tmp_path, GOOD)
    (tmp_path / "tools.toml").write_text("package = []\n")
    with pytest.raises(ConfigurationError, match=r"tools\.toml \(package\): unknown key"):
        buildpacks.load(tmp_path)


def test_a_buildpack_without_rules_is_one_for_apprunner_yaml_alone(tmp_path):
    write(tmp_path, GOOD.partition("[[dependencies]]")[0])
    (pack,) = buildpacks.load(tmp_path)
    assert (pack.rules, pack.dependencies) == ((), ())


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ('runtime = "cobol1"', "", "runtime", "expected a text"),
        ('runtime = "cobol1"', 'runtime = "cobol2"', "runtime", "expected one of cobol1"),
        ('runtime = "cobol1"', 'runtime = "cobol1"\nx = 1', "x", "unknown key"),
        ('api = "COBOL_1"', "", "runtimes[0].api", "expected a text"),
        ('"original"', '"new"', "runtimes[0].process", "expected one of original, revised"),
        ('["true"]', '"true"', "runtimes[0].base.setup", "expected a list of texts"),
        ('["true"]', "[1]", "runtimes[0].base.setup", "expected a list of texts"),
        ('"1.1"', "1.1", "runtimes[0].base.packages_version.bookworm", "expected a text"),
        ('image = "cobol:1"', "", "runtimes[0].base.image", "expected a text"),
        ('image = "cobol:1"', 'imago = "x"\nimage = "y"', "runtimes[0].base.imago", "unknown key"),
        ("[runtimes.base]\nimage", "[runtimes.other]\nimage", "runtimes[0].base", "a table"),
        ('"cobol install"\ninputs', '"("\ninputs', "dependencies[0].pattern", "not a regular"),
        ('"local"', '"["', "dependencies[0].refuse.deps.txt", "not a regular"),
        ('"local"', "1", "dependencies[0].refuse.deps.txt", "expected a text"),
        ('name = "cobol"\n', 'name = "a/b"\n', "caches[0].name", "small letters, digits"),
        ('{ COBOL_CACHE = "{cache}/x" }', "{}", "caches[0].variables", "a table of texts"),
        ('"{cache}/x"', "1", "caches[0].variables", "a table of texts"),
        ('{ cob = "run" }', '{ cob = "walk" }', "caches[0].programs", "cannot be read"),
        ("exclusive = true", "exclusive = 1", "caches[0].exclusive", "true or false"),
        ('unless = "', 'unless = "(', "caches[0].unless", "not a regular"),
        ('because = "there is a main.cob"', "", "rules[0].because", "expected a text"),
        ("[rules.contains]\n", "contains = 1\n#", "rules[0].contains", "expected a table"),
        ("build = [", "port = 0\nbuild = [", "rules[0].port", "from 1 to 65535"),
        ("build = [", "bild = [", "rules[0].bild", "unknown key"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(tmp_path, old, new, key, message):
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
        buildpacks.load(tmp_path)
    assert caught.value.place.file == str(path)
    assert caught.value.place.key == key


def test_what_is_no_toml_is_refused_with_its_line(tmp_path):
    write(tmp_path, 'runtime = "x"\noops\n')
    with pytest.raises(ConfigurationError, match="not TOML") as caught:
        buildpacks.load(tmp_path)
    assert caught.value.place.line == 2


def test_what_is_no_text_is_refused(tmp_path):
    write(tmp_path, GOOD).write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        buildpacks.load(tmp_path)


@pytest.mark.parametrize("text", ['runtime = "x"\n', 'runtime = "x"\nruntimes = 1\n'])
def test_a_buildpack_brings_a_runtime(tmp_path, text):
    write(tmp_path, text)
    with pytest.raises(ConfigurationError, match="runtimes"):
        buildpacks.load(tmp_path)


def test_two_buildpacks_cannot_bring_the_same_runtime(tmp_path):
    write(tmp_path, GOOD)
    write(tmp_path, GOOD, "cobol-too")
    with pytest.raises(ConfigurationError, match="the runtime cobol1 is in"):
        buildpacks.load(tmp_path)


@pytest.mark.parametrize("name", [".", "missing"])
def test_a_folder_without_buildpacks_is_refused(tmp_path, name):
    with pytest.raises(ConfigurationError, match="no buildpacks"):
        buildpacks.load(tmp_path / name)


# -- the ones that there are ---------------------------------------------------------------------


def test_every_buildpack_has_a_readme(ours):
    for name in ours:
        assert (buildpacks.folder() / name / "README.md").is_file()


def test_every_runtime_is_one_of_app_runner_s_under_its_two_names(ours):
    for pack in ours.values():
        for runtime in pack.runtimes:
            assert runtime.name in RELEASES
            letters, digits = re.fullmatch(r"([a-z]+)(\d+)", runtime.name).groups()
            assert runtime.api == f"{letters.upper()}_{digits}"


@pytest.mark.documented
def test_every_runtime_of_app_runner_s_is_there(ours):
    assert {runtime.name for pack in ours.values() for runtime in pack.runtimes} == set(RELEASES)


def test_every_base_says_which_version_it_has(ours):
    for pack in ours.values():
        for runtime in pack.runtimes:
            assert runtime.base.image_version
            assert bool(runtime.base.packages_version) is runtime.base.can_be_made


def test_the_public_image_has_the_version_that_the_runtime_stands_for(ours):
    for pack in ours.values():
        for runtime in pack.runtimes:
            version = runtime.base.image_version
            assert any(agree(version, release) for release in RELEASES[runtime.name])


@pytest.mark.documented
def test_only_the_three_newest_runtimes_have_the_revised_build(ours):
    revised = {
        runtime.name
        for pack in ours.values()
        for runtime in pack.runtimes
        if runtime.process is BuildProcess.REVISED
    }
    assert revised == {"python311", "nodejs18", "nodejs22"}


def test_every_folder_is_loaded(ours):
    folders = [p.parent.name for p in buildpacks.folder().glob("*/buildpack.toml")]
    assert sorted(folders) == sorted(ours)
    assert all(tomli.loads((buildpacks.folder() / n / "buildpack.toml").read_text()) for n in ours)


COMMANDS = {
    "python": {
        "pip install -r requirements.txt": True,
        "pip3 install -r requirements.txt": True,
        "python -m pip install -r requirements.txt": True,
        "python3 -m pip install --no-cache-dir -q -U -r requirements.txt": True,
        "pip install --upgrade -r ./requirements.txt --quiet": True,
        "pip install --requirement=requirements.txt": True,
        "pip install --upgrade pip": True,
        "pip3 install --upgrade pip setuptools wheel": True,
        "pip install flask==3.0.1 gunicorn": True,
        "pip install 'uvicorn[standard]'": True,
        "python3 --version": True,
        "pip install -r requirements-dev.txt": False,
        "pip install -r app/requirements.txt": False,
        "pip install -r requirements.txt -r more.txt": False,
        "pip install -r requirements.txt --target deps": False,
        "pip install -r requirements.txt; rm -rf x": False,
        "pip install .": False,
        "pip install -e .": False,
        "pip install ./package": False,
        "pip install package.whl": False,
        "pip install package-1.0.tar.gz": False,
        "pip install streamlit>=1.28.0": False,
        "pip install git+https://example.com/x": False,
        "pip install $PACKAGES": False,
        "pip install `cat x`": False,
        "pip uninstall -y x": False,
        "python manage.py migrate": False,
    },
    "nodejs": {
        "npm install": True,
        "npm i": True,
        "npm ci": True,
        "npm install --production": True,
        "npm ci --omit=dev --no-audit": True,
        "npm install --unsafe-perm=true": True,
        "yarn": True,
        "yarn install --frozen-lockfile": True,
        "yarn install --production=true": True,
        "npm install -g yarn pnpm@9": True,
        "node --version": True,
        "npm install express": False,
        "npm install --prefix backend": False,
        "npm ci; rm x": False,
        "npm run build": False,
        "npm test": False,
        "yarn build": False,
        "npx prisma generate": False,
        "npm install ../x": False,
    },
    "ruby": {
        "bundle install": True,
        "bundle": True,
        "bundle install --jobs 4 --retry=3 --quiet": True,
        "gem install bundler": True,
        "gem install bundler -v 2.4.22 --no-document": True,
        "gem install foreman:0.87.2": True,
        "bundle --version": True,
        "bundle install --path vendor/bundle": False,
        "bundle install --deployment": False,
        "bundle config set --local path vendor": False,
        "bundle exec rake assets:precompile": False,
        "bundle update": False,
        "gem install ./x.gem": False,
        "gem install x.gem": False,
    },
}


@pytest.mark.parametrize(
    ("pack", "command", "known"),
    [(pack, *pair) for pack, pairs in COMMANDS.items() for pair in pairs.items()],
)
def test_commands_that_only_install_are_known(ours, pack, command, known):
    found = [d for d in ours[pack].dependencies if re.fullmatch(d.pattern, command)]
    assert bool(found) is known


CONTENTS = {
    ("python", "requirements.txt"): {
        "flask==3.0\ngunicorn>=23,<24\n": False,
        "uvicorn[standard]>=0.2 ; python_version < '3.12'\n": False,
        "# see ./docs or -r base.txt\nflask  # a/b\n": False,
        "--extra-index-url https://example.com/simple\nflask\n": False,
        "foo @ https://example.com/foo-1.0.tar.gz\n": False,
        "flask==3.0 \\\n    --hash=sha256:abcd\n    # via -r requirements.in\n": False,
        "-r base.txt\n": True,
        "-rbase.txt\n": True,
        "flask\n  -c constraints.txt\n": True,
        "--requirement base.txt\n": True,
        "-e .\n": True,
        "-e git+https://example.com/x\n": True,
        ".\n": True,
        "./lib\n": True,
        "../lib\n": True,
        ".[extra]\n": True,
        "libs/foo\n": True,
        "libs\\foo\n": True,
        "foo-1.0-py3-none-any.whl\n": True,
        "foo @ file:///x\n": True,
        "git+https://example.com/x@main\n": True,
        "x @ git+ssh://example.com/x\n": True,
        "-f ./wheels\n": True,
        "--find-links wheels\n": True,
    },
    ("nodejs", "package.json"): {
        '{"main": "./index.js", "dependencies": {"a": "^1.0.0", "b": "npm:c@1"}}': False,
        '{"scripts": {"start": "node ./x", "test": "x"}, "files": ["a/b"]}': False,
        '{"repository": "github:user/repo"}': True,
        '{"scripts": {"postinstall": "x"}}': True,
        '{"scripts": {"prepare": "husky"}}': True,
        '{"workspaces": ["a"]}': True,
        '{"dependencies": {"a": "^1", "b": "../b"}}': True,
        '{"dependencies": {"a": "file:../a"}}': True,
        '{"devDependencies": {"a": "user/repo"}}': True,
        '{"dependencies": {"a": "git+https://example.com/x"}}': True,
        '{"dependencies": {"a": "https://example.com/x.tgz"}}': True,
        "../package.json": True,
    },
    ("ruby", "Gemfile"): {
        "source 'https://rubygems.org'\n\ngem 'rack'\n": False,
        '# frozen\nruby \'3.1.2\'\ngem "rack", "~> 2.2", ">= 2.2.4" # newest\n': False,
        "group :development, :test do\n  gem 'byebug', require: false\nend\n": False,
        "gem 'debug', platforms: %i[mri windows], group: :test\n": False,
        "gem 'pg', '1.5', groups: [:a, :b], require: 'pg/x'": False,
        "": False,
        "gemspec\n": True,
        "gem 'mine', path: 'lib/mine'\n": True,
        "gem 'mine', git: 'https://example.com/x'\n": True,
        "gem 'mine', github: 'me/mine'\n": True,
        "gem 'a', ENV['VERSION']\n": True,
        "gem 'a'; load 'b.rb'\n": True,
        "eval_gemfile 'other'\n": True,
        "ruby file: '.ruby-version'\n": True,
        "ruby File.read('.ruby-version')\n": True,
        "path 'lib' do\n  gem 'mine'\nend\n": True,
        "source 'https://example.com' do\n  gem 'mine'\nend\n": True,
        "plugin 'x'\n": True,
        'gem "a#{x}"\n': True,
        "../Gemfile": True,
    },
    ("ruby", "Gemfile.lock"): {
        "GEM\n  specs:\n    rack (2.2)\n\nPLATFORMS\n  arm64-darwin\n  ruby\n\n": False,
        "GEM\n\nPLATFORMS\n  x86_64-linux\n": False,
        "GEM\n\nPLATFORMS\n  arm64-darwin-22\n\nDEPENDENCIES\n  ruby\n": True,
        "PATH\n  remote: .\n\nPLATFORMS\n  ruby\n": True,
        "GIT\n  remote: https://example.com/x\n\nPLATFORMS\n  ruby\n": True,
        "": True,
    },
}


@pytest.mark.parametrize(
    ("pack", "path", "content", "refused"),
    [(*where, *pair) for where, pairs in CONTENTS.items() for pair in pairs.items()],
)
def test_files_that_name_more_of_the_repository_are_refused(ours, pack, path, content, refused):
    dependency = next(d for d in ours[pack].dependencies if path in d.refuse)
    assert bool(re.search(dependency.refuse[path], content)) is refused


def test_every_rule_s_own_build_is_known_or_needs_the_source(ours):
    """A default that would be built from the whole source is a conscious choice."""
    conscious = {"pip3 install .", "npm run build", "yarn build", "pnpm run build"}
    conscious |= {"bundle exec jekyll build", "corepack enable", "yarn install --immutable"}
    conscious |= {"npm install --global --force corepack", "pnpm install --frozen-lockfile"}
    conscious |= {"pnpm install --frozen-lockfile --prod"}
    for pack in filter(lambda pack: pack.dependencies, ours.values()):
        for rule in pack.rules:
            unknown = {
                command
                for command in rule.build
                if not any(re.fullmatch(d.pattern, command) for d in pack.dependencies)
            }
            assert unknown <= conscious
