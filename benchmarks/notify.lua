-- POST invoices, each with a body of its own. Arguments: a file with one path a line, and a number that makes the
-- invoice numbers of this run its own.
local paths, sent, thread, run = {}, 0, 0, ""
local threads = 0

function setup(t)
  t:set("id", threads)
  threads = threads + 1
end

function init(args)
  for line in io.lines(args[1]) do paths[#paths + 1] = line end
  run = args[2]
end

function request()
  sent = sent + 1
  local number = run .. "-" .. id .. "-" .. sent
  local body = '{"type":"Output","invoiceNumber":"' .. number .. '","invoiceValue":1300,' ..
    '"issuanceDate":"2026-11-01T10:00:00.000000-03:00","invoiceKey":null,"invoiceUrl":"https://invoices.example/' ..
    number .. '","courier":"Example Courier","trackingNumber":"TR' .. sent .. '","trackingUrl":null,' ..
    '"items":[{"id":"8","quantity":1,"price":1200}]}'
  return wrk.format("POST", paths[(sent % #paths) + 1], {["Content-Type"] = "application/json"}, body)
end
