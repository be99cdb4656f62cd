// A small web application on Node.js: one package, plain http. It runs on each version from 12 on,
// which does not know `node:http` yet.
"use strict";

const fs = require("fs");
const http = require("http");
const path = require("path");
const ms = require("ms");

const VERSION = fs.readFileSync(path.join(__dirname, "version.txt"), "utf8").trim();
const PORT = Number(process.env.PORT || 8080);
const HTML = "text/html; charset=utf-8";
const FORM = `<!doctype html>
<title>Node.js on App Runner</title>
<form method="post"><label>Your name <input name="name"></label> <button>Greet</button></form>
`;

function answer(response, status, text, type = "text/plain; charset=utf-8") {
  response.writeHead(status, { "Content-Type": type, "Content-Length": Buffer.byteLength(text) });
  response.end(text);
}

function escaped(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return text.replace(/[&<>"]/g, (character) => names[character]);
}

function greet(request, response) {
  if (request.method !== "POST") {
    return answer(response, 200, FORM, HTML);
  }
  let body = "";
  request.setEncoding("utf8");
  request.on("data", (part) => (body += part));
  return request.on("end", () => {
    const name = new URLSearchParams(body).get("name") || "";
    answer(response, 200, `<p>Hello, ${escaped(name)}!\n`, HTML);
  });
}

function spin(seconds) {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; );
}

const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  const seconds = (usual, most) => Math.min(Number(url.searchParams.get("seconds") || usual), most);
  switch (url.pathname) {
    case "/":
      return answer(response, 200, `Hello from Node.js, version ${VERSION}!\n`);
    case "/healthz":
      return answer(response, 200, "ok\n");
    case "/version":
      return answer(response, 200, `${VERSION}\n`);
    case "/form":
      return greet(request, response);
    case "/slow":
      return setTimeout(
        () => answer(response, 200, `slow, from version ${VERSION}\n`),
        seconds(1, 30) * 1000,
      );
    case "/cpu":
      spin(seconds(0.5, 10));
      return answer(response, 200, "done\n");
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
