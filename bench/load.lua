-- Requests from a file, one a line: a bearer token or nothing, a tab, the body. @KEY@ in a body becomes a key that no other
-- request has. The last line printed: requests a second, p50 and p99 in ms, requests, and those that failed on the wire.
local lines, formatted, at, keys, made = {}, {}, 0, false, 0
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local function request_of(token, body)
  local headers = { ["Content-Type"] = "application/json", ["Accept"] = "application/json" }
  if token ~= "" then headers["Authorization"] = "Bearer " .. token end
  return wrk.format("POST", "/graphql", headers, body)
end

function init(args)
  run = args[2]
  for line in io.lines(args[1]) do
    local token, body = line:match("^([^\t]*)\t(.*)$")
    lines[#lines + 1] = { token, body }
    formatted[#formatted + 1] = request_of(token, body)
    keys = keys or body:find("@KEY@", 1, true) ~= nil
  end
end

function request()
  at = at % #lines + 1
  if not keys then return formatted[at] end
  made = made + 1
  local body = lines[at][2]:gsub("@KEY@", run .. "-" .. number .. "-" .. made)
  return request_of(lines[at][1], body)
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %.1f %.3f %.3f %d %d\n", summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1000,
    latency:percentile(99) / 1000, summary.requests, e.connect + e.read + e.write + e.status + e.timeout))
end
