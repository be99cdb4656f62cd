"use strict";

const fs = require("node:fs");
const path = require("node:path");
const express = require("express");

const version = fs.readFileSync(path.join(__dirname, "version.txt"), "utf8");
const app = express();

app.get("/version", (request, response) => response.type("text/plain").send(version));
app.listen(process.env.PORT || 8080, "0.0.0.0");
