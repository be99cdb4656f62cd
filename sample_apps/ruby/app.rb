# A small web application on WEBrick: what a service of App Runner looks like.

require "cgi"
require "json"
require "webrick"

VERSION = File.read(File.join(__dir__, "version.txt")).strip
FORM = <<~HTML
  <!doctype html>
  <title>Ruby on App Runner</title>
  <form method="post"><label>Your name <input name="name"></label> <button>Greet</button></form>
HTML

def seconds(request, usual, most)
  (request.query["seconds"] || usual).to_f.clamp(0, most)
end

def answer(response, text, type: "text/plain; charset=utf-8", status: 200)
  response.status = status
  response["Content-Type"] = type
  response.body = text
end

def route(request, response)
  case request.path
  when "/" then answer(response, "Hello from Ruby, version #{VERSION}!\n")
  when "/version" then answer(response, "#{VERSION}\n")
  when "/healthz" then answer(response, "ok\n")
  when "/form" then greet(request, response)
  when "/slow"
    sleep(seconds(request, 1, 30))
    answer(response, "slow, from version #{VERSION}\n")
  when "/cpu"
    finish = now + seconds(request, 0.5, 10)
    nil while now < finish
    answer(response, "done\n")
  when "/json"
    facts = { version: VERSION, language: "ruby#{RUBY_VERSION}", host: request["Host"] }
    answer(response, "#{facts.to_json}\n", type: "application/json")
  else answer(response, "There is nothing here.\n", status: 404)
  end
end

def greet(request, response)
  name = CGI.escapeHTML(request.query["name"].to_s)
  text = request.request_method == "POST" ? "<p>Hello, #{name}!\n" : FORM
  answer(response, text, type: "text/html; charset=utf-8")
end

def now
  Process.clock_gettime(Process::CLOCK_MONOTONIC)
end

$stdout.sync = true
port = Integer(ENV.fetch("PORT", "8080"))
log = WEBrick::Log.new($stdout, WEBrick::Log::WARN)
access = [[$stdout, "%m %U %s"]]
server = WEBrick::HTTPServer.new(Port: port, BindAddress: "0.0.0.0", Logger: log, AccessLog: access)
server.mount_proc("/") { |request, response| route(request, response) }
trap("TERM") { server.shutdown } # requests in flight are finished before the process ends
puts "version #{VERSION} listens on port #{port}"
server.start
