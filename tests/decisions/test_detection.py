"""What a repository without apprunner.yaml is taken for, by the buildpacks that there are."""

import pytest

from emulator.decisions.detection import detect, wanted
from emulator.drivers import buildpacks
from emulator.model.errors import ConfigurationError

PACKS = buildpacks.load(buildpacks.folder())
START = '{"scripts": {"start": "node x"}, "dependencies": {"ms": "1"}}'
BRACES = (
    '{"scripts": {"lint": "eslint *.{js,ts} \\"x\\"", "build": "x", "start": "node x"}, '
    '"dependencies": {"ms": "1"}}'
)
BUILD = '{"scripts": {"build": "x", "start": "node x"}, "dependencies": {"ms": "1"}}'
REQUIREMENTS = ("pip3 install -r requirements.txt",)
PIPENV = "pip3 install pipenv"
POETRY = (
    "pip3 install poetry",
    "POETRY_VIRTUALENVS_CREATE=false poetry install --no-root --only main",
)
UV = (
    "pip3 install uv",
    "uv export -q --frozen --no-dev --no-emit-project -o /tmp/requirements.txt",
    "pip3 install -r /tmp/requirements.txt",
)
FLASK = "app = Flask(__name__)\n"
FASTAPI = "app = FastAPI()\n"
FLASK_RUN = "python3 -m flask --app {} run --host 0.0.0.0 --port 8080"
PNPM = ("npm install --global pnpm", "pnpm install --frozen-lockfile")
YARN = ("npm install --global --force corepack", "corepack enable", "yarn install --immutable")
SERVE = "npm install --global serve"
LISTEN = " --listen tcp://0.0.0.0:8080"
JEKYLL = "bundle exec jekyll serve --skip-initial-build --no-watch --host 0.0.0.0 --port 8080"
COMPOSER = ("composer install --no-dev --no-interaction --optimize-autoloader",)
BUNDLE = ("bundle install",)
DOTNET_RUN = "dotnet run --project a.csproj -c Release --no-build --no-launch-profile"
JAR = '"$(ls -S target/*.[jw]ar | head -n 1)"'


def detected(**files):
    """Keyword arguments are file names with __ for the dot."""
    contents = {
        name.replace("__init____", "\0")
        .replace("__", ".")
        .replace("\0", "__init__."): text.encode()
        for name, text in files.items()
    }
    return detect(paths=contents.keys(), contents=contents, buildpacks=PACKS)


CASES = {
    "Django": (
        {"manage__py": "", "requirements__txt": "Django>=5\n", "main__py": ""},
        *("python311", REQUIREMENTS, "python3 manage.py runserver 0.0.0.0:8080"),
    ),
    "Streamlit": (
        {"app__py": "import streamlit as st\n", "requirements__txt": "streamlit\n"},
        "python311",
        REQUIREMENTS,
        "streamlit run app.py --server.port 8080 --server.address 0.0.0.0 --server.headless true",
    ),
    "FastAPI": (
        {"main__py": "app = FastAPI(title='x')\n", "requirements__txt": "fastapi\nuvicorn==1\n"},
        *("python311", REQUIREMENTS, "python3 -m uvicorn main:app --host 0.0.0.0 --port 8080"),
    ),
    "FastAPI with its extras": (
        {"app__py": "app: FastAPI = FastAPI()\n", "requirements__txt": "fastapi[standard]\n"},
        *("python311", REQUIREMENTS, "python3 -m uvicorn app:app --host 0.0.0.0 --port 8080"),
    ),
    "Flask with gunicorn": (
        {"app__py": "app = Flask(__name__)\n", "requirements__txt": "flask\ngunicorn\n"},
        *("python311", REQUIREMENTS, "gunicorn --bind 0.0.0.0:8080 app:app"),
    ),
    "Flask": (
        {"main__py": "app = flask.Flask(__name__)\n", "requirements__txt": "Flask==3\n"},
        *("python311", REQUIREMENTS, "python3 -m flask --app main run --host 0.0.0.0 --port 8080"),
    ),
    "a script with requirements": (
        {"server__py": "", "requirements__txt": "pyramid\n"},
        *("python311", REQUIREMENTS, "python3 server.py"),
    ),
    "a script with pyproject.toml": (
        {"main__py": "", "pyproject__toml": ""},
        *("python311", ("pip3 install .",), "python3 main.py"),
    ),
    "a script with a Pipfile": (
        {"app__py": "", "Pipfile": ""},
        *("python311", (PIPENV, "pipenv install --system --skip-lock"), "python3 app.py"),
    ),
    "Flask with a Pipfile and its lock": (
        {"app__py": FLASK, "Pipfile": "[packages]\nflask = '*'\n", "Pipfile__lock": "{}"},
        *("python311", (PIPENV, "pipenv install --system --deploy"), FLASK_RUN.format("app")),
    ),
    "FastAPI with Poetry": (
        {"pyproject__toml": "uvicorn = '*'\n", "poetry__lock": "", "app/main__py": FASTAPI},
        *("python311", POETRY, "python3 -m uvicorn app.main:app --host 0.0.0.0 --port 8080"),
    ),
    "FastAPI with uv": (
        {"pyproject__toml": "dependencies=['uvicorn>=1']", "uv__lock": "", "src/main__py": FASTAPI},
        *("python311", UV, "python3 -m uvicorn --app-dir src main:app --host 0.0.0.0 --port 8080"),
    ),
    "a FastAPI factory": (
        {"main__py": f"def create_app():\n    {FASTAPI}", "requirements__txt": "uvicorn\n"},
        "python311",
        REQUIREMENTS,
        "python3 -m uvicorn --factory main:create_app --host 0.0.0.0 --port 8080",
    ),
    "a Flask factory in a package, with gunicorn": (
        {"site/__init____py": f"def create_app():\n    {FLASK}", "requirements__txt": "gunicorn\n"},
        *("python311", REQUIREMENTS, "gunicorn --bind 0.0.0.0:8080 site:create_app()"),
    ),
    "a Flask factory in a package": (
        {"site/__init____py": f"def create_app():\n    {FLASK}", "requirements__txt": "flask\n"},
        *("python311", REQUIREMENTS, FLASK_RUN.format("site")),
    ),
    "a wsgi.py with gunicorn": (
        {"wsgi__py": "from site import app\n", "requirements__txt": "flask\ngunicorn\n"},
        *("python311", REQUIREMENTS, "gunicorn --bind 0.0.0.0:8080 wsgi:app"),
    ),
    "Django with gunicorn": (
        {"manage__py": "", "blog/wsgi__py": "", "requirements__txt": "gunicorn\nDjango\n"},
        *("python311", REQUIREMENTS, "gunicorn --bind 0.0.0.0:8080 blog.wsgi"),
    ),
    "pnpm": (
        {"package__json": BUILD, "pnpm-lock__yaml": ""},
        *("nodejs22", (*PNPM, "pnpm run build"), "pnpm start"),
    ),
    "a later yarn": (
        {"package__json": START, "yarn__lock": "", "__yarnrc__yml": ""},
        *("nodejs22", YARN, "yarn start"),
    ),
    "a site that Vite builds": (
        {"package__json": '{"scripts": {"build": "tsc && vite build"}}', "index__html": ""},
        *("nodejs22", ("npm install", "npm run build", SERVE), "serve --single dist" + LISTEN),
    ),
    "Create React App": (
        {
            "package__json": '{"scripts": {"start": "react-scripts start", "build": '
            '"react-scripts build"}, "dependencies": {"react": "18"}}',
            "package-lock__json": "{}",
        },
        *("nodejs22", ("npm ci", "npm run build", SERVE), "serve --single build" + LISTEN),
    ),
    "a server of its own beside Vite": (
        {
            "package__json": '{"scripts": {"build": "vite build", "start": "node x"}, '
            '"dependencies": {"ms": "1"}}',
        },
        *("nodejs22", ("npm install", "npm run build"), "npm start"),
    ),
    "TypeScript with a main file": (
        {"package__json": '{"main": "dist/x.js", "scripts": {"build": "tsc"}}'},
        *("nodejs22", ("npm install", "npm run build"), "node ."),
    ),
    "Express in src": (
        {"package__json": '{"dependencies": {"express": "4"}}', "src/index__js": ""},
        *("nodejs22", ("npm install --omit=dev",), "node src/index.js"),
    ),
    "Jekyll": (
        {"Gemfile": "gem 'jekyll'\n", "_config__yml": ""},
        *("ruby31", (*BUNDLE, "bundle exec jekyll build"), JEKYLL),
    ),
    "ASP.NET in a folder": (
        {"a__sln": "", "src/Web/Web__csproj": '<Project Sdk="Microsoft.NET.Sdk.Web">'},
        "dotnet6",
        ("dotnet publish src/Web/Web.csproj -c Release -o bin/app",),
        "dotnet bin/app/Web.dll --urls http://0.0.0.0:8080",
    ),
    "a script alone": ({"main__py": ""}, "python311", (), "python3 main.py"),
    "main before app": ({"main__py": "", "app__py": ""}, "python311", (), "python3 main.py"),
    "npm start": ({"package__json": START}, "nodejs22", ("npm install --omit=dev",), "npm start"),
    "npm start with a lock": (
        {"package__json": START, "package-lock__json": "{}"},
        *("nodejs22", ("npm ci --omit=dev",), "npm start"),
    ),
    "yarn": (
        {"package__json": START, "yarn__lock": ""},
        *("nodejs22", ("yarn install --frozen-lockfile --production",), "yarn start"),
    ),
    "a build script": (
        {"package__json": BUILD},
        *("nodejs22", ("npm install", "npm run build"), "npm start"),
    ),
    "a build script with a lock": (
        {"package__json": BUILD, "package-lock__json": "{}"},
        *("nodejs22", ("npm ci", "npm run build"), "npm start"),
    ),
    "a build script beside braces and quotes": (
        {"package__json": BRACES, "package-lock__json": "{}"},
        *("nodejs22", ("npm ci", "npm run build"), "npm start"),
    ),
    "a build script with yarn": (
        {"package__json": BUILD, "yarn__lock": ""},
        *("nodejs22", ("yarn install --frozen-lockfile", "yarn build"), "yarn start"),
    ),
    "nothing to install": (
        {"package__json": '{"scripts": {"start": "node x"}, "dependencies": {}}'},
        *("nodejs22", (), "npm start"),
    ),
    "a server without a start script": (
        {"package__json": '{"dependencies": {"ms": "1"}}', "server__js": ""},
        *("nodejs22", ("npm install --omit=dev",), "node server.js"),
    ),
    "a server with nothing to install": (
        {"package__json": "{}", "index__js": ""},
        *("nodejs22", (), "node index.js"),
    ),
    "a main file": (
        {"package__json": '{"main": "lib/x.js", "dependencies": {"ms": "1"}}'},
        *("nodejs22", ("npm install --omit=dev",), "node ."),
    ),
    "a script of Node.js alone": ({"index__js": ""}, "nodejs22", (), "node index.js"),
    "Go": (
        {"go__mod": "", "main__go": "package main\n"},
        *("go1", ("go build -o bin/app .",), "./bin/app"),
    ),
    "Go in a file of another name": (
        {"go__mod": "", "a__go": "package main_test\n", "b__go": "// x\npackage main\n"},
        *("go1", ("go build -o bin/app .",), "./bin/app"),
    ),
    "Go in a folder of commands": (
        {"go__mod": "", "cmd/hello/main__go": "package main\n", "lib__go": "package lib\n"},
        *("go1", ("go build -o bin/app ./cmd/hello",), "./bin/app"),
    ),
    "Go's server before its other commands": (
        {"go__mod": "", "cmd/admin/main__go": "", "cmd/server/main__go": ""},
        *("go1", ("go build -o bin/app ./cmd/server",), "./bin/app"),
    ),
    "Go without a module": (
        {"main__go": "package main\n"},
        *("go1", ("go build -o bin/app main.go",), "./bin/app"),
    ),
    "Laravel": (
        {"composer__json": "", "artisan": "", "public/index__php": "", "package__json": "{}"},
        *("php81", COMPOSER, "php artisan serve --host=0.0.0.0 --port=8080"),
    ),
    "PHP with composer": (
        {"composer__json": "", "public/index__php": ""},
        *("php81", COMPOSER, "php -S 0.0.0.0:8080 -t public"),
    ),
    "a page of PHP": ({"index__php": ""}, "php81", (), "php -S 0.0.0.0:8080"),
    "PHP before its static pages": (
        {"index__php": "", "index__html": ""},
        *("php81", (), "php -S 0.0.0.0:8080"),
    ),
    "Rails": (
        {
            "Gemfile": "gem 'rails', '~> 7.0'\ngem 'puma'\n",
            "config/application__rb": "",
            "config__ru": "",
        },
        *("ruby31", BUNDLE, "bundle exec rails server -e production -b 0.0.0.0 -p 8080"),
    ),
    "Puma": (
        {"Gemfile": 'gem "puma"\n', "config__ru": ""},
        *("ruby31", BUNDLE, "bundle exec puma --port 8080"),
    ),
    "Rack": (
        {"Gemfile": 'gem "rack"\n', "config__ru": "", "app__rb": ""},
        *("ruby31", BUNDLE, "bundle exec rackup --host 0.0.0.0 --port 8080"),
    ),
    "Sinatra": (
        {"Gemfile": 'gem "sinatra"\n', "app__rb": "", "index__html": ""},
        *("ruby31", BUNDLE, "bundle exec ruby app.rb -o 0.0.0.0 -p 8080"),
    ),
    "a script of Ruby with gems": (
        {"Gemfile": "", "server__rb": ""},
        *("ruby31", BUNDLE, "bundle exec ruby server.rb"),
    ),
    "a script of Ruby alone": ({"app__rb": ""}, "ruby31", (), "ruby app.rb"),
    "Maven": (
        {"pom__xml": "<project/>", "mvnw": ""},
        *("corretto11", ("mvn -q -DskipTests package", f"cp {JAR} app.jar"), "java -jar app.jar"),
    ),
    "Maven's wrapper": (
        {"pom__xml": "", "mvnw": "", ".mvn/wrapper/maven-wrapper__properties": ""},
        "corretto11",
        ("sh ./mvnw -q -DskipTests package", f"cp {JAR} app.jar"),
        "java -jar app.jar",
    ),
    "Quarkus": (
        {"pom__xml": "<artifactId>quarkus-maven-plugin</artifactId>"},
        "corretto11",
        ("mvn -q -DskipTests package",),
        "java -jar target/quarkus-app/quarkus-run.jar",
    ),
    "Gradle": (
        {"build__gradle": ""},
        "corretto11",
        ("gradle --no-daemon assemble", f"cp {JAR.replace('target', 'build/libs')} app.jar"),
        "java -jar app.jar",
    ),
    "Gradle's wrapper": (
        {
            "build__gradle__kts": "",
            "gradlew": "",
            "gradle/wrapper/gradle-wrapper__jar": "",
            "package__json": START,
        },
        "corretto11",
        ("sh ./gradlew --no-daemon assemble", f"cp {JAR.replace('target', 'build/libs')} app.jar"),
        "java -jar app.jar",
    ),
    "a file of Java": (
        {"Hello__java": "class Hello { public static void main(String[] a) {} }"},
        *("corretto11", (), "java Hello.java"),
    ),
    ".NET on the web": (
        {"Shop__Web__csproj": '<Project Sdk="Microsoft.NET.Sdk.Web"></Project>'},
        "dotnet6",
        ("dotnet publish Shop.Web.csproj -c Release -o bin/app",),
        "dotnet bin/app/Shop.Web.dll --urls http://0.0.0.0:8080",
    ),
    ".NET with a name of its own": (
        {"a__csproj": '<Project Sdk="Microsoft.NET.Sdk.Web"><AssemblyName>b</AssemblyName>'},
        "dotnet6",
        ("dotnet build a.csproj -c Release",),
        f"{DOTNET_RUN} -- --urls http://0.0.0.0:8080",
    ),
    "a program of .NET": (
        {"a__csproj": "<OutputType>Exe</OutputType>"},
        "dotnet6",
        ("dotnet build a.csproj -c Release",),
        DOTNET_RUN,
    ),
    "a static site": ({"index__html": ""}, "python311", (), "python3 -m http.server 8080"),
    "a static site in a folder": (
        {"public/index__html": "", "README__md": ""},
        *("python311", (), "python3 -m http.server 8080 --directory public"),
    ),
    "Python with some assets": (
        {"app__py": "app = Flask(__name__)", "requirements__txt": "flask", "package__json": "{}"},
        *("python311", REQUIREMENTS, "python3 -m flask --app app run --host 0.0.0.0 --port 8080"),
    ),
}


@pytest.mark.parametrize(("files", "runtime", "build", "command"), CASES.values(), ids=CASES)
def test_a_repository_is_recognised(files, runtime, build, command):
    found = detected(**files)
    assert (found.runtime.name, found.build, found.command) == (runtime, build, command)
    assert found.port == 8080
    assert not found.shell
    assert found.because[0].startswith("There is no apprunner.yaml: ")


def test_a_procfile_wins_over_the_defaults_and_is_for_a_shell():
    found = detected(
        Procfile="release: x\nweb:  gunicorn app:app --bind :$PORT  \nworker: y\n",
        app__py="app = Flask(__name__)",
        requirements__txt="flask",
    )
    assert found.command == "gunicorn app:app --bind :$PORT"
    assert found.shell
    assert found.build == REQUIREMENTS
    assert "Procfile" in found.because[1]


def test_a_procfile_is_enough_where_only_the_language_is_known():
    found = detected(Procfile="web: python -m demo", requirements__txt="x")
    assert (found.runtime.name, found.command) == ("python311", "python -m demo")


def test_a_procfile_without_a_web_line_says_nothing():
    assert not detected(Procfile="worker: x", main__py="").shell


@pytest.mark.parametrize(
    ("command", "runtime"),
    [
        ("bundle exec puma -p $PORT", "ruby31"),
        ("gunicorn app:app", "python311"),
        ("node_modules/.bin/next start", "nodejs22"),
        ("npm start", "nodejs22"),
    ],
)
def test_the_first_word_of_a_procfile_tells_of_several_languages(command, runtime):
    files = {"Gemfile": "", "package__json": "{}", "requirements__txt": "", "server__js": ""}
    found = detected(Procfile=f"web: {command}", **files)
    assert (found.runtime.name, found.command) == (runtime, command)


def test_every_other_language_is_told_of_once():
    found = detected(go__mod="", main__go="package main", Gemfile="", requirements__txt="")
    assert found.because[1:] == (
        "It could be ruby31 as well, as there is a Gemfile: apprunner.yaml would decide.",
        "It could be python311 as well, as there is a requirements.txt: apprunner.yaml would decide.",
    )


@pytest.mark.parametrize("other", ["package__json", "requirements__txt", "Gemfile", "_config__yml"])
def test_a_page_beside_a_list_of_packages_is_no_static_site(other):
    with pytest.raises(ConfigurationError):
        detected(index__html="", **{other: "{}"})


def test_what_a_repository_calls_its_files_must_fit_a_command():
    """A start command is split on blanks, and quotes mean nothing to it."""
    with pytest.raises(ConfigurationError):
        detected(**{"My App__csproj": '<Project Sdk="Microsoft.NET.Sdk.Web">'})


def test_a_known_language_without_a_start_asks_for_one():
    with pytest.raises(ConfigurationError, match=r"there is a requirements\.txt, nothing says how"):
        detected(requirements__txt="flask")


def test_nothing_recognised_lists_what_was_looked_for():
    with pytest.raises(ConfigurationError) as caught:
        detected(README__md="x")
    for name in ("Dockerfile", "Procfile", "package.json", "requirements.txt", "Gemfile"):
        assert name in caught.value.message
    assert caught.value.place.file == "apprunner.yaml"


def test_an_empty_directory_is_said_to_be_empty():
    with pytest.raises(ConfigurationError, match="no files"):
        detected()


def test_folders_that_may_be_applications_are_named():
    files = {"web/package__json": START, "api/app/requirements__txt": "", "api/app/main__py": ""}
    with pytest.raises(ConfigurationError, match="applications in api/app, web: name one of these"):
        detected(**files)
    with pytest.raises(ConfigurationError, match=r"nothing says how to start.* in web: name one"):
        detected(package__json='{"workspaces": ["web"]}', **{"web/package__json": START})


def test_a_misspelt_file_is_named():
    with pytest.raises(ConfigurationError, match=r"apprunner\.yml is not read"):
        detected(apprunner__yml="")


def test_a_rule_needs_the_contents_not_just_the_name():
    """A file that was too large to read."""
    with pytest.raises(ConfigurationError):
        detect(paths={"package.json"}, contents={}, buildpacks=())
    found = detect(paths={"package.json", "main.py"}, contents={}, buildpacks=PACKS)
    assert found.command == "python3 main.py"


def test_only_the_files_that_decide_are_asked_for():
    paths = {
        *("apprunner.yaml", "Dockerfile", "Procfile", "package.json", "yarn.lock", "binding.gyp"),
        *("app.py", "src/app.py", "README.md", "huge.bin", "node_modules/x/package.json"),
    }
    assert wanted(paths, PACKS) == (
        *("Dockerfile", "Procfile", "app.py", "apprunner.yaml", "binding.gyp"),
        *("package.json", "yarn.lock"),
    )
    assert wanted({"A.csproj", "a/A.csproj", "cmd/x/main.go", "go.mod"}, PACKS) == (
        *("A.csproj", "cmd/x/main.go", "go.mod"),
    )


@pytest.mark.parametrize(
    ("files", "build", "pre_run"),
    [
        ({"main__py": "", "requirements__txt": "x"}, (), REQUIREMENTS),
        ({"package__json": START}, (), ("npm install --omit=dev",)),
    ],
)
def test_in_a_revised_build_the_commands_run_in_the_run_image(files, build, pre_run):
    configuration = detected(**files).configuration
    assert (configuration.build, configuration.pre_run) == (build, pre_run)
