// A small web application on Node.js: one package, plain http.
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const ms = require("ms");

const VERSION = fs.readFileSync(path.join(__dirname, "version.txt"), "utf8").trim();
const PORT = Number(process.env.PORT || 8080);

function answer(response, status, text, type = "text/plain; charset=utf-8") {
  response.writeHead(status, { "Content-Type": type, "Content-Length": Buffer.byteLength(text) });
  response.end(text);
}

const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  const seconds = Math.min(Number(url.searchParams.get("seconds") || 1), 30);
  switch (url.pathname) {
    case "/":
      return answer(response, 200, `Hello from Node.js, version ${VERSION}!\n`);
    case "/healthz":
      return answer(response, 200, "ok\n");
    case "/slow":
      return setTimeout(() => answer(response, 200, `slow, version ${VERSION}\n`), seconds * 1000);
    case "/json": {
      const facts = { version: VERSION, node: process.version, uptime: ms(process.uptime() * 1000) };
      return answer(response, 200, JSON.stringify(facts), "application/json");
    }
    default:
      return answer(response, 404, "There is nothing here.\n");
  }
});

server.listen(PORT, "0.0.0.0", () => console.log(`version ${VERSION} listens on port ${PORT}`));

process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
