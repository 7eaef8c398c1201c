-- Loads a renewed certificate into the running HAProxy, without a reload and without closing a
-- connection. HAProxy 3.0 accepts a certificate with the key of another one, so each is first
-- tested on a port of this pod. One that fails is logged once, and the current one stays in use.
-- Arguments: the certificate's path (its key has the same path with .key added), and another path
-- of the same file, which the port for tests uses.

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

-- HAProxy 3.0 has an empty name for the certificate's field; other versions call it `crt`.
local function set(name, pem)
    local loaded, problem = pcall(CertCache.set, { filename = name, crt = pem })
    if not loaded and tostring(problem):find("Unsupported field", 1, true) then
        loaded, problem = pcall(CertCache.set, { filename = name, [""] = pem })
    end
    return loaded, problem
end

local function connects()
    local socket = core.tcp()
    socket:settimeout(5)
    local response = socket:connect_ssl("127.0.0.1", TRIAL_PORT)
        and socket:send("GET / HTTP/1.0\r\n\r\n")
        and socket:receive("*l")
    socket:close()
    return response and response:find("^HTTP/1.[01] 200") ~= nil
end

local function load_certificate(pem)
    local loaded, problem = set(TRIAL, pem)
    if not loaded then
        return loaded, problem
    end
    if not connects() then
        return false, "no connection can be made with it; is the key the certificate's?"
    end
    return set(CERTIFICATE, pem)
end

local function log(level, event, problem)
    local reason = tostring(problem or ""):gsub("[%c\"\\]+", " ")
    core.log(level, string.format('{"event": "%s", "reason": "%s"}', event, reason))
end

-- HAProxy has loaded this one.
local current = certificate_and_key()

core.register_task(function()
    while true do
        core.sleep(SECONDS)
        local renewed = certificate_and_key()
        if renewed and renewed ~= current then
            current = renewed
            local loaded, problem = load_certificate(renewed)
            if loaded then
                log(core.notice, "the new certificate is in use")
            else
                log(core.err, "the new certificate is unusable, the old one stays in use", problem)
            end
        end
    end
end)
