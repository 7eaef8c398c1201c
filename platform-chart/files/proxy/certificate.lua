-- Takes a renewed certificate while HAProxy runs: nothing is reloaded, no connection ends. The arguments name the certificate's file, whose
-- key is beside it with .key, as HAProxy itself expects; and another name of the same file, which a port of this pod's own serves. HAProxy
-- 3.0 would take a certificate with the key of another one, so each is first tried there. One that fails is logged, once, and the one in
-- use stays.

local CERTIFICATE, TRIAL = ...
local TRIAL_PORT = 8406
local SECONDS = 5

local function read(path)
    local file = io.open(path, "rb")
    if not file then
        return nil
    end
    local text = file:read("a")
    file:close()
    return text
end

local function certificate_and_key()
    local certificate, key = read(CERTIFICATE), read(CERTIFICATE .. ".key")
    return certificate and key and certificate .. "\n" .. key
end

-- HAProxy 3.0 knows the certificate's field only by an empty name; others know it as `crt`.
local function set(name, pem)
    local taken, problem = pcall(CertCache.set, { filename = name, crt = pem })
    if not taken and tostring(problem):find("Unsupported field", 1, true) then
        taken, problem = pcall(CertCache.set, { filename = name, [""] = pem })
    end
    return taken, problem
end

local function serves()
    local socket = core.tcp()
    socket:settimeout(5)
    local answered = socket:connect_ssl("127.0.0.1", TRIAL_PORT)
        and socket:send("GET / HTTP/1.0\r\n\r\n")
        and socket:receive("*l")
    socket:close()
    return answered and answered:find("^HTTP/1.[01] 200") ~= nil
end

local function take(pem)
    local taken, problem = set(TRIAL, pem)
    if not taken then
        return taken, problem
    end
    if not serves() then
        return false, "no connection can be made with it; is the key the certificate's?"
    end
    return set(CERTIFICATE, pem)
end

local function say(level, event, problem)
    local reason = tostring(problem or ""):gsub("[%c\"\\]+", " ")
    core.log(level, string.format('{"event": "%s", "reason": "%s"}', event, reason))
end

-- As HAProxy loads it, before the configuration is read any further.
local seen = certificate_and_key()

core.register_task(function()
    while true do
        core.sleep(SECONDS)
        local found = certificate_and_key()
        if found and found ~= seen then
            seen = found
            local taken, problem = take(found)
            if taken then
                say(core.notice, "the new certificate is in use")
            else
                say(core.err, "the new certificate is unusable, the old one stays in use", problem)
            end
        end
    end
end)
