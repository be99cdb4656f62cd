"""A Flask application as App Runner's users write them."""

import os
import time
from pathlib import Path

import flask
import markupsafe

VERSION = Path(__file__).with_name("version.txt").read_text().strip()

FORM = """<!doctype html>
<title>Flask on App Runner</title>
<form method="post"><label>Your name <input name="name"></label> <button>Greet</button></form>
"""

app = flask.Flask(__name__)


@app.get("/")
def index():
    return f"Hello from Flask, version {VERSION}!\n"


@app.get("/version")
def version():
    return f"{VERSION}\n"


@app.get("/healthz")
def healthz():
    return "ok\n"


@app.get("/slow")
def slow():
    time.sleep(min(flask.request.args.get("seconds", 1.0, type=float), 30))
    return f"slow, from version {VERSION}\n"


@app.get("/form")
def form():
    return FORM


@app.post("/form")
def greet():
    return f"<p>Hello, {markupsafe.escape(flask.request.form.get('name', ''))}!\n"


@app.get("/cpu")
def cpu():
    end = time.perf_counter() + min(flask.request.args.get("seconds", 0.5, type=float), 10)
    while time.perf_counter() < end:
        pass
    return "done\n"


@app.get("/json")
def facts():
    return {"version": VERSION, "greeting": os.environ.get("GREETING", ""), "flask": True}
