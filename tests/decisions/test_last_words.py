"""What of a failed command's output stands in the reason: the tools' own words, shortened."""

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.last_words import LONGEST, last_words

PIP = """Collecting flask
ERROR: Could not find a version that satisfies the requirement nosuch==9.9 (from versions: none)
ERROR: No matching distribution found for nosuch==9.9

[notice] A new release of pip is available: 23.0.1 -> 25.3
[notice] To update, run: pip install --upgrade pip"""
PIP_METADATA = """  RuntimeError: pg_config executable not found.
  [end of output]

  note: This error originates from a subprocess, and is likely not a problem with pip.
error: metadata-generation-failed"""
NPM_CI = """npm error code EUSAGE
npm error
npm error The `npm ci` command can only install with an existing package-lock.json.
npm error Run "npm help ci" for more info
npm error A complete log of this run can be found in: /root/.npm/_logs/x-debug-0.log"""
NPM_MISSING = """npm ERR! code E404
npm ERR! 404 Not Found - GET https://registry.npmjs.org/nosuch - Not found
npm ERR! 404
npm ERR! 404  'nosuch@*' is not in this registry.

npm ERR! A complete log of this run can be found in:
npm ERR!     /root/.npm/_logs/x-debug-0.log"""
NPM_6_SCRIPT = """> tsc

src/index.ts(1,7): error TS2322: Type 'string' is not assignable to type 'number'.
npm ERR! code ELIFECYCLE
npm ERR! errno 2
npm ERR! a@1.0.0 build: `tsc`
npm ERR! Exit status 2
npm ERR!
npm ERR! Failed at the a@1.0.0 build script.
npm ERR! This is probably not a problem with npm. There is likely additional logging output above.

npm ERR! A complete log of this run can be found in:
npm ERR!     /root/.npm/_logs/x-debug.log"""
NPM_8_SCRIPT = """sh: 1: vite: not found
npm ERR! Lifecycle script `build` failed with error:
npm ERR! Error: command failed
npm ERR!   in workspace: web@1.0.0
npm ERR!   at location: /app/web"""
YARN = """src/a.ts:3:1 - error TS1005: ';' expected.
error Command failed with exit code 2.
info Visit https://yarnpkg.com/en/docs/cli/run for documentation about this command."""
MAVEN = """[INFO] BUILD FAILURE
[ERROR] Failed to execute goal x:compile (default-compile) on project a: Compilation failure
[ERROR] /app/src/main/java/Main.java:[3,5] cannot find symbol
[ERROR]
[ERROR] -> [Help 1]
[ERROR] To see the full stack trace of the errors, re-run Maven with the -e switch.
[ERROR] Re-run Maven using the -X switch to enable full debug logging.
[ERROR] For more information about the errors and possible solutions, please read the following:
[ERROR] [Help 1] http://cwiki.apache.org/confluence/display/MAVEN/MojoFailureException"""
GRADLE = """* What went wrong:
Task 'biuld' not found in root project 'a'.

* Try:
> Run gradle tasks to get a list of available tasks.
> Run with --stacktrace option to get the stack trace.

BUILD FAILED in 3s"""
MAKE = """main.c:1:10: fatal error: nosuch.h: No such file or directory
make: *** [Makefile:2: all] Error 1"""
GO = """# example.com/x/cmd/server
cmd/server/main.go:3:99: undefined: greet.Ho"""
PYTHON = """Traceback (most recent call last):
  File "/app/manage.py", line 3, in <module>
ModuleNotFoundError: No module named 'django'"""
SYNTAX = """  File "app.py", line 6
    def broken(:
               ^
SyntaxError: invalid syntax"""
BUILDKIT = """#5 [2/2] RUN nosuch
#5 0.345 /bin/sh: 1: nosuch: not found
#5 ERROR: process "/bin/sh -c nosuch" did not complete successfully: exit code: 127
------
 > [2/2] RUN nosuch:
0.345 /bin/sh: 1: nosuch: not found
------
Dockerfile:2
--------------------
   1 |     FROM x
   2 | >>> RUN nosuch
--------------------
ERROR: failed to solve: process did not complete successfully: exit code: 127"""
WARNED = """WARNING: The scripts are not found on PATH.
the end"""


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (PIP, "ERROR: No matching distribution found for nosuch==9.9"),
        (PIP_METADATA, "RuntimeError: pg_config executable not found."),
        (NPM_CI, "npm error The `npm ci` command can only install with an existing"),
        (NPM_MISSING, "npm ERR! 404 Not Found - GET https://registry.npmjs.org/nosuch"),
        (NPM_6_SCRIPT, "src/index.ts(1,7): error TS2322"),
        (NPM_8_SCRIPT, "sh: 1: vite: not found"),
        (YARN, "src/a.ts:3:1 - error TS1005"),
        (MAVEN, "[ERROR] /app/src/main/java/Main.java:[3,5] cannot find symbol"),
        (GRADLE, "Task 'biuld' not found in root project 'a'."),
        (MAKE, "main.c:1:10: fatal error: nosuch.h"),
        (GO, "cmd/server/main.go:3:99: undefined: greet.Ho"),
        (PYTHON, "ModuleNotFoundError: No module named 'django'"),
        (SYNTAX, "SyntaxError: invalid syntax (app.py, line 6)"),
        (BUILDKIT, "/bin/sh: 1: nosuch: not found"),
        (WARNED, "the end"),
        ("one\ntwo\n\n", "two"),
    ],
)
def test_what_says_why_is_told_and_not_what_every_failure_ends_with(output, said):
    assert last_words(output.split("\n")).startswith(said)


def test_nothing_is_told_of_a_command_that_said_nothing():
    assert last_words(["", "   ", "npm ERR!", "Step 2/3 : RUN false"]) == ""


@given(st.lists(st.text()))
def test_it_is_one_short_line(lines):
    said = last_words(lines)
    assert len(said) <= LONGEST
    assert "\n" not in said
