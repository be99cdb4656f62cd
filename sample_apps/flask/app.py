"""A Flask application as App Runner's users write them."""

import os
import time
from pathlib import Path

import flask

VERSION = Path(__file__).with_name("version.txt").read_text().strip()

app = flask.Flask(__name__)


@app.get("/")
def index():
    return f"Hello from Flask, version {VERSION}!\n"


@app.get("/healthz")
def healthz():
    return "ok\n"


@app.get("/slow")
def slow():
    time.sleep(min(flask.request.args.get("seconds", 1.0, type=float), 30))
    return f"slow, from version {VERSION}\n"


@app.get("/json")
def facts():
    return {"version": VERSION, "greeting": os.environ.get("GREETING", ""), "flask": True}
