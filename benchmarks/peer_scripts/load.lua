-- Requests for wrk: `-- START KIND FILE...`. Each file holds head length, headers and a body with the mark "@@@@" once,
-- in whose place a number comes that no other request has: four bytes of a float32 (KIND float) or digits (KIND text);
-- with KIND same the mark stays. Files are taken in turns.
local bodies, turn, number, kind = {}, 0, 0, "same"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*all")
  file:close()
  local headers = {}
  local at = 1
  while true do
    local stop = text:find("\n", at, true)
    local line = text:sub(at, stop - 1)
    at = stop + 1
    if line == "" then break end
    local colon = line:find(": ", 1, true)
    headers[line:sub(1, colon - 1)] = line:sub(colon + 2)
  end
  local mark = text:find("@@@@", at, true)
  return {headers = headers, path = headers[":path"], before = text:sub(at, mark - 1), after = text:sub(mark + 4)}
end

function init(args)
  number, kind = tonumber(args[1]), args[2]
  for i = 3, #args do
    local body = read(args[i])
    body.headers[":path"] = nil
    bodies[#bodies + 1] = body
  end
end

function request()
  turn = turn % #bodies + 1
  local body, mark = bodies[turn], "@@@@"
  if kind ~= "same" then number = number + 1 end
  if kind == "float" then
    mark = string.char(number % 256, math.floor(number / 256) % 256, math.floor(number / 65536) % 64 + 64, 63)
  elseif kind == "text" then
    mark = string.format("%.7f", number / 4194304)
  end
  return wrk.format("POST", body.path, body.headers, body.before .. mark .. body.after)
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('\n{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, failed))
end
