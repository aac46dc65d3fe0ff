-- Cantus for Wireshark and tshark (3.6 or later): every datagram, and over TCP every frame of the stream ports
-- and of the client protocol.
-- docs/wire.md is the reference. Run with `-X lua_script:cantus.lua`, or put this file into the
-- folder of personal Lua plugins (Help, About, Folders).
--
-- Datagrams are found by their first bytes on any UDP port, and frames by their shape on any TCP port. Ports
-- named in the preferences are taken for Cantus whatever arrives there, so that damage is shown.
--
-- A sender that uses segmentation offload hands the kernel up to 64 datagrams at once, and a capture on
-- its host shows them as one packet. They are shown one after the other.

-- ---- names of numbers: those of proto/*.h ----------------------------------------------------------

local TYPES = { "batch", "heartbeat", "proposal", "join", "hint", "gap_request", "gap_refusal",
                "ack", "seal", "promise", "create", "recall" }
local FRAMES = { "request", "batch", "vouch", "end", "status_request", "status", "command",
                 "outcome", "clients_request", "clients" }
local EDGE_REQUESTS = { "hello", "prove", "subscribe", "change", "open", "publish", "alive",
                        "who" }
local EDGE_ANSWERS = { "welcome", "accepted", "subscribed", "changed", "epoch", "name", "message",
                       "progress", "opened", "outcome", "refused", "forked", "superseded", "closing",
                       "clients" }
local EDGE_TYPES = {}
for i, name in ipairs(EDGE_REQUESTS) do EDGE_TYPES[i] = name end
for i, name in ipairs(EDGE_ANSWERS) do EDGE_TYPES[i + 15] = name end
local EDGE_REFUSALS = { "right", "name", "number", "quota", "large", "order", "history" }
local EDGE_CLOSINGS = { "protocol", "identity", "stream", "slow", "quota", "drain", "idle",
    "history", "rights" }
local EDGE_LEVELS, EDGE_FROMS = { "sequenced", "stable" }, { "tip", "position", "time" }
local EDGE_KINDS, EDGE_RIGHTS = { "topic", "publisher" }, { [0] = "none", "read", "write", [4] = "grant" }
local HINTS = { "unknown_publisher", "superseded", "forked", "old_number", "ahead",
                "join_conflict", "overloaded", "paused", "topic_refused", "missing" }
local REFUSALS = { "pruned", "not_yet", "busy" }
local ENDS = { "done", "pruned", "not_yet", "other_stream", "busy", "bad_request", "damaged" }
local REJECTS = { "not_permitted", "condition", "no_topic", "too_large", "bad_path", "full",
                  "malformed" }
local HOWS = { "started", "promoted", "timeout", "lease" }
local COMMANDS = { "promote", "member_add", "member_remove", "digest_at", "session", "why",
                   "drain" }
local VERDICTS = { "done", "pending", "refused" }
local TOPICS = { "/sys/genesis", "/sys/epoch", "/sys/session", "/sys/join", "/sys/reject",
                 "/sys/topic", "/sys/clock", "/sys/member", "/sys/grant", "/sys/group",
                 "/sys/limit", "/sys/edge", "/sys/word" }
local WHOMS = { "anyone", "key", "group" }
local LIMITED = { "everyone", "key", "subtree" }

-- ---- layouts ---------------------------------------------------------------------------------------
-- What follows the frame, as lists of "kind name". A name becomes the filter cantus.LAYOUT.NAME. An epoch
-- becomes NAME.number and NAME.candidate, a position these and NAME.seq, a digest NAME.low and NAME.high.

local LAYOUTS = {
    heartbeat = { "epoch epoch", "u64 next_seq", "digest digest", "u64 stable", "time time_ns",
                  "u64 epoch_first_seq" },
    join = { "id nonce", "u32 wanted", "string identity" },
    hint = { "enum reason", "u32 publisher", "u32 incarnation", "u64 next_publisher_seq", "id nonce",
             "epoch epoch" },
    gap_request = { "epoch epoch", "u64 first_seq", "u64 end_seq", "id nonce" },
    gap_refusal = { "enum reason", "u64 first_seq", "u64 oldest_seq", "u64 end_seq", "id nonce" },
    ack = { "id store", "id run.id", "epoch run.promised", "position run.tail", "epoch promised",
            "position tail", "digest digest", "time clock_ns", "bool full", "bool settled" },
    seal = { "epoch epoch", "bool probe" },
    promise = { "id store", "id run.id", "epoch run.promised", "position run.tail", "epoch promised", "epoch asked", "bool probe", "bool proven",
                "position tail", "digest digest", "u64 oldest_seq", "time clock_ns",
                "u64 leader_age_ns", "ip fetch_ip", "u16 fetch_port", "u16 stream_port",
                "membership members" },
    create = { "id nonce", "u32 publisher", "string path" },
    recall = { "id store", "id run", "epoch epoch", "epoch promised", "position tail" },
    proposal = { "u32 publisher", "u32 incarnation", "u64 first_publisher_seq", "position position",
                 "zero4 zero", "entries entries" },
    batch = { "digest before", "u64 first_seq", "time timestamp_ns", "u64 stable", "id candidate",
              "u32 number", "zero4 zero", "messages messages" },
    -- Payloads of the topics under /sys.
    genesis = { "id stream", "time created_ns", "u32 protocol_version", "bool is_volatile",
                "key admin_key", "membership members" },
    epoch = { "epoch epoch", "position adopted", "digest digest", "enum how", "string why",
              "table entries" },
    session = { "string name", "u32 protocol_version", "id protocol_digest", "id catalog_digest" },
    join_record = { "id nonce", "u64 last_publisher_seq", "u32 publisher", "u32 incarnation",
                    "string identity" },
    reject = { "enum reason", "u32 topic", "u32 count", "u64 detail" },
    topic = { "rest path" },
    clock = {},
    member = { "membership members" },
    words = { "words words" },
    grant = { "bool revoke", "u8 rights", "enum who", "whom whom", "string subtree" },
    group = { "bool remove", "string group", "key key" },
    limit = { "bool remove", "enum who", "limited limited", "u64 messages_per_s", "u64 bytes_per_s",
              "u32 burst_ms", "u32 topics", "u32 subscriptions", "u32 connections",
              "u64 inflight_bytes" },
    -- Frames of the stream ports.
    request = { "id stream", "u64 first_seq", "u64 end_seq", "epoch epoch" },
    ["end"] = { "enum reason", "u64 oldest_seq", "u64 next_seq" },
    clients_request = { "u32 first" },
    -- Frames of the client protocol.
    edge_hello = { "u16 version", "id stream", "bool has_key", "own_key key", "string agent" },
    edge_prove = { "signature signature" },
    edge_subscribe = { "enum level", "enum from", "position position", "time time_ns", "u32 tick_ms", "u64 mark_seq",
                       "subtrees subtree" },
    edge_change = { "subtrees add", "subtrees remove" },
    edge_open = { "id nonce", "u32 wanted", "u64 known", "string name" },
    edge_publish = { "u32 publisher", "u64 number", "position position", "u8 flags", "string topic",
                     "bool conditional", "condition condition", "payload payload" },
    edge_alive = {},
    edge_who = { "u32 place" },
    edge_welcome = { "u16 version", "id stream", "key challenge", "string proxy" },
    edge_accepted = { "position tip", "u64 stable", "u32 fragment_bytes", "u32 window",
                      "u32 payload_max", "bool is_volatile" },
    edge_subscribed = { "position position" },
    edge_changed = { "u64 seq" },
    edge_epoch = { "epoch epoch", "u64 first_seq" },
    edge_name = { "enum kind", "u24 id", "string text" },
    edge_message = { "u64 seq", "u64 previous", "time timestamp_ns", "u24 topic", "u24 publisher",
                     "u48 publisher_seq", "u8 flags", "payload payload" },
    edge_progress = { "u64 through", "u64 previous", "u64 stable", "time timestamp_ns" },
    edge_opened = { "u32 publisher", "u32 incarnation", "u64 last_number", "u64 join_seq",
                    "u64 items", "u64 unknown_through" },
    edge_outcome = { "u32 publisher", "u64 number", "u32 count", "u64 seq", "enum reason", "u64 detail",
                     "u64 stable" },
    edge_refused = { "enum request", "enum reason", "enum right", "u32 publisher", "u64 number",
                     "string subject", "string text" },
    edge_forked = { "position common" },
    edge_superseded = { "u32 publisher", "u32 incarnation", "u64 join_seq" },
    edge_closing = { "enum reason", "string text" },
}
local RECORDS = { "genesis", "epoch", "session", "join_record", "reject", "topic", "clock",
                  "member", "grant", "group", "limit", [13] = "words" }
local ENUMS = { ["hint.reason"] = HINTS, ["gap_refusal.reason"] = REFUSALS, ["epoch.how"] = HOWS,
                ["reject.reason"] = REJECTS, ["end.reason"] = ENDS, ["command.kind"] = COMMANDS,
                ["command.how"] = HOWS, ["outcome.verdict"] = VERDICTS, ["grant.who"] = WHOMS,
                ["limit.who"] = LIMITED, ["edge_subscribe.level"] = EDGE_LEVELS,
                ["edge_subscribe.from"] = EDGE_FROMS, ["edge_name.kind"] = EDGE_KINDS,
                ["edge_outcome.reason"] = { [0] = "sequenced", (table.unpack or unpack)(REJECTS) },
                ["edge_refused.request"] = EDGE_TYPES, ["edge_refused.reason"] = EDGE_REFUSALS,
                ["edge_refused.right"] = EDGE_RIGHTS, ["edge_closing.reason"] = EDGE_CLOSINGS }
-- Text for the list of packets: names of fields, in order.
local SUMMARIES = {
    heartbeat = { "epoch.number", "next_seq", "stable" },
    join = { "identity", "wanted" }, create = { "path" },
    hint = { "reason", "publisher", "next_publisher_seq" },
    gap_request = { "first_seq", "end_seq" },
    gap_refusal = { "reason", "first_seq", "oldest_seq", "end_seq" },
    ack = { "store", "tail.epoch.number", "tail.seq", "full" },
    seal = { "epoch.number", "probe" },
    recall = { "store", "promised.number", "tail.seq" },
    promise = { "store", "promised.number", "probe", "proven", "tail.seq" },
    proposal = { "publisher", "incarnation", "first_publisher_seq" },
    batch = { "first_seq", "number", "stable" },
    request = { "first_seq", "end_seq" }, ["end"] = { "reason", "next_seq" },
    status = { "role", "state", "tip", "stable" }, command = { "kind", "name", "why" },
    outcome = { "verdict", "seq", "text" }, clients_request = { "first" },
    clients = { "next", "tip" },
    edge_hello = { "agent" }, edge_welcome = { "proxy" }, edge_accepted = { "tip.seq", "stable" },
    edge_subscribe = { "level", "from", "position.seq" }, edge_open = { "name", "wanted" },
    edge_who = { "place" },
    edge_publish = { "publisher", "number", "topic" }, edge_subscribed = { "position.seq" },
    edge_epoch = { "epoch.number", "first_seq" }, edge_name = { "kind", "id", "text" },
    edge_message = { "seq", "previous", "topic" }, edge_progress = { "through", "stable" },
    edge_opened = { "publisher", "incarnation", "last_number" },
    edge_outcome = { "publisher", "number", "seq", "reason" },
    edge_refused = { "request", "reason", "subject", "text" }, edge_forked = { "common.seq" },
    edge_superseded = { "publisher", "incarnation" }, edge_closing = { "reason", "text" },
}

-- Messages of proto/control.proto: number, then "kind name"; a kind with a capital is a message.
local PROTOBUF = {
    Counter = { "string name", "uint64 value" },
    Epoch = { "uint32 number", "fixed64 candidate", "uint64 first_seq" },
    Member = { "fixed64 store", "uint64 durable_seq", "bool current", "bool full", "uint64 age_ns" },
    Publisher = { "uint32 id", "string identity", "uint32 incarnation", "uint64 next_number" },
    Status = { "string role", "string state", "fixed64 stream", "string session", "Epoch epoch",
               "uint64 tip", "uint64 stable", "bool is_volatile", "uint32 quorum", "Member members",
               "Publisher publishers", "uint32 publisher_count", "uint32 topic_count",
               "Counter counters", "uint64 uptime_ns", "uint64 memory_bytes", "fixed64 store",
               "uint32 epochs_used", "fixed64 clock_ns" },
    Command = { "uint32 kind", "fixed64 store", "uint64 seq", "string why", "string name",
                "uint32 how" },
    Outcome = { "uint32 verdict", "uint64 seq", "uint32 epoch_number", "fixed64 epoch_candidate",
                "uint64 position_seq", "fixed64 digest_low", "fixed64 digest_high", "string text" },
    Client = { "uint64 session", "fixed32 ip", "uint32 port", "bytes key", "string agent",
               "fixed64 since_ns", "uint64 seq", "uint64 bytes_in", "uint64 bytes_out",
               "uint64 published", "uint32 subtrees", "uint32 publishers", "uint32 flags" },
    Clients = { "uint32 next", "uint64 tip", "fixed64 clock_ns", "Client clients" },
}

-- ---- protocols, fields, expert infos -----------------------------------------------------------------

local cantus = Proto("cantus", "Cantus")
local stream = Proto("cantus_stream", "Cantus stream")
local edge = Proto("cantus_edge", "Cantus client protocol")

local fields = {} -- by filter name without "cantus."
local function field(make, name, ...)
    if fields[name] == nil then
        fields[name] = make("cantus." .. name, name:match("[^.]+$"), ...)
    end
end

local MAKERS = {
    u8 = { ProtoField.uint8, base.DEC }, u16 = { ProtoField.uint16, base.DEC },
    u32 = { ProtoField.uint32, base.DEC }, u64 = { ProtoField.uint64, base.DEC },
    id = { ProtoField.uint64, base.HEX }, time = { ProtoField.uint64, base.DEC },
    bool = { ProtoField.bool }, ip = { ProtoField.ipv4 }, string = { ProtoField.string },
    rest = { ProtoField.string }, key = { ProtoField.bytes }, zero4 = { ProtoField.uint32, base.DEC },
    uint32 = { ProtoField.uint32, base.DEC }, uint64 = { ProtoField.uint64, base.DEC },
    fixed64 = { ProtoField.uint64, base.HEX }, fixed32 = { ProtoField.uint32, base.HEX },
    bytes = { ProtoField.bytes }, u24 = { ProtoField.uint24, base.DEC },
    u48 = { ProtoField.uint64, base.DEC }, signature = { ProtoField.bytes },
    own_key = { ProtoField.bytes }, payload = { ProtoField.bytes }, subtrees = { ProtoField.string },
}
local COMPOSED = {
    epoch = { { "u32", "number" }, { "id", "candidate" } },
    position = { { "u32", "epoch.number" }, { "id", "epoch.candidate" }, { "u64", "seq" } },
    digest = { { "id", "low" }, { "id", "high" } },
}

local function declare(kind, name)
    if ENUMS[name] ~= nil then
        field(kind == "enum" and ProtoField.uint8 or ProtoField.uint32, name, base.DEC, ENUMS[name])
    elseif COMPOSED[kind] ~= nil then
        field(ProtoField.none, name)
        for _, part in ipairs(COMPOSED[kind]) do declare(part[1], name .. "." .. part[2]) end
    elseif kind == "membership" then
        field(ProtoField.none, name)
        declare("u64", name .. ".seq")
        declare("u32", name .. ".quorum")
        declare("u8", name .. ".count")
        declare("id", name .. ".store")
    elseif kind == "whom" or kind == "limited" then
        local prefix = name:match("^(.*%.)")
        declare("key", prefix .. "key")
        declare("string", prefix .. (kind == "whom" and "group" or "subtree"))
    elseif kind == "table" then
        declare("u8", name .. ".count")
        declare("epoch", name .. ".epoch")
        declare("u64", name .. ".first_seq")
        declare("digest", name .. ".before")
    elseif kind == "words" then
        declare("u8", name .. ".count")
        declare("id", name .. ".store")
        declare("id", name .. ".run")
        declare("epoch", name .. ".promised")
        declare("position", name .. ".tail")
    elseif kind == "condition" then
        declare("string", name .. "_topic")
        declare("u64", name .. "_after")
    elseif MAKERS[kind] ~= nil then
        field(MAKERS[kind][1], name, MAKERS[kind][2])
    end
end

field(ProtoField.uint16, "magic", base.HEX)
field(ProtoField.uint8, "version", base.DEC)
field(ProtoField.uint8, "type", base.DEC, TYPES)
field(ProtoField.uint16, "length", base.DEC)
field(ProtoField.uint16, "count", base.DEC)
field(ProtoField.uint64, "stream", base.HEX)
field(ProtoField.uint64, "checksum", base.HEX)
declare("digest", "digest")
for _, part in ipairs({ "message", "entry" }) do
    field(ProtoField.none, part)
    field(ProtoField.uint16, part .. ".length", base.DEC, nil, 0x3fff)
    field(ProtoField.bool, part .. ".more", 16, nil, 0x4000)
    field(ProtoField.bool, part .. ".fragment", 16, nil, 0x8000)
    field(ProtoField.uint24, part .. ".topic", base.DEC)
    field(ProtoField.bytes, part .. ".payload")
end
declare("u64", "message.seq")
field(ProtoField.uint24, "message.publisher", base.DEC)
declare("u64", "message.publisher_seq")
declare("u64", "entry.publisher_seq")
declare("bool", "entry.conditional")
declare("u32", "entry.condition_topic")
declare("u64", "entry.after_seq")
field(ProtoField.bytes, "batch.padding")
field(ProtoField.uint32, "frame.length", base.DEC)
field(ProtoField.uint8, "frame.type", base.DEC, FRAMES)
field(ProtoField.uint32, "edge.length", base.DEC)
field(ProtoField.uint8, "edge.type", base.DEC, EDGE_TYPES)
for layout, list in pairs(LAYOUTS) do
    for _, item in ipairs(list) do
        local kind, name = item:match("(%S+) (%S+)")
        declare(kind, layout .. "." .. name)
    end
end
for message, list in pairs(PROTOBUF) do
    for _, item in ipairs(list) do
        local kind, name = item:match("(%S+) (%S+)")
        name = message:lower() .. "." .. name
        if PROTOBUF[kind] ~= nil then field(ProtoField.none, name) else declare(kind, name) end
    end
end
field(ProtoField.bytes, "protobuf.unknown")

local experts = {}
local SEVERITY = expert.severity
for name, of in pairs({
    foreign = { "Not the magic of Cantus", expert.group.MALFORMED, SEVERITY.ERROR },
    other_version = { "Another version of the protocol", expert.group.UNDECODED, SEVERITY.WARN },
    bad_length = { "The length field is not what arrived", expert.group.MALFORMED, SEVERITY.ERROR },
    malformed = { "Breaks the format", expert.group.MALFORMED, SEVERITY.ERROR },
    unknown_type = { "Unknown type", expert.group.UNDECODED, SEVERITY.WARN },
    cut = { "Not captured whole", expert.group.UNDECODED, SEVERITY.NOTE },
    chain_broken = { "The digest is not what was captured before for this place of this epoch",
                     expert.group.SEQUENCE, SEVERITY.ERROR },
    history_differs = { "Another history than was captured before, as after a failover",
                        expert.group.SEQUENCE, SEVERITY.NOTE },
    refused = { "Refused or rejected", expert.group.RESPONSE_CODE, SEVERITY.NOTE },
}) do
    experts[name] = ProtoExpert.new("cantus." .. name, of[1], of[2], of[3])
end

local field_list = {}
for _, f in pairs(fields) do field_list[#field_list + 1] = f end
cantus.fields = field_list
cantus.experts = experts

-- ---- reading ---------------------------------------------------------------------------------------
-- A reader that runs off its end turns `failed` on and adds nothing more, as in proto/wire.h. `values` keeps
-- what was read, by field, for whoever needs it.

local Reader = {}
Reader.__index = Reader

local function reader(tvb, at, stop, prefix)
    return setmetatable({ tvb = tvb, at = at, stop = stop, prefix = prefix, failed = false,
                          values = {} }, Reader)
end

function Reader:take(size)
    if self.failed or size < 0 or self.at + size > self.stop or self.at + size > self.tvb:len() then
        self.failed = true
        return nil
    end
    self.at = self.at + size
    return self.tvb(self.at - size, size)
end

local function clock_text(ns)
    local seconds = (ns / UInt64(1000000000)):tonumber()
    local rest = (ns % UInt64(1000000000)):tonumber()
    if seconds > 253402300799 then return "" end -- after the year 9999
    return string.format(" (%s.%09d UTC)", os.date("!%Y-%m-%d %H:%M:%S", seconds), rest)
end

local SIZES = { u8 = 1, enum = 1, bool = 1, u16 = 2, u24 = 3, u32 = 4, zero4 = 4, ip = 4, u48 = 6,
                u64 = 8, id = 8, time = 8, key = 32, signature = 64 }

-- One number or one block of bytes; its value, or nil.
function Reader:scalar(tree, kind, name)
    local range = self:take(SIZES[kind])
    if range == nil then return nil end
    local f = fields[self.prefix .. name] or fields[name]
    local item, value
    if kind == "key" or kind == "signature" then
        tree:add(f, range)
        return range
    elseif SIZES[kind] > 4 then
        value = range:le_uint64()
        item = tree:add_le(f, range)
        if kind == "time" then item:append_text(clock_text(value)) end
        self.values[name] = kind == "id" and "0x" .. value:tohex() or tostring(value)
    else
        value = range:le_uint()
        item = tree:add_le(f, range)
        self.values[name] = tostring(value)
        if kind == "bool" and value > 1 or kind == "zero4" and value ~= 0 then
            item:add_proto_expert_info(experts.malformed, name .. " has a value that it can't have")
        elseif kind == "enum" then
            local text = ENUMS[self.prefix .. name][value]
            if text == nil then
                item:add_proto_expert_info(experts.malformed, name .. " is none of those there are")
            end
            self.values[name] = text or tostring(value)
        end
    end
    return value, item
end

function Reader:text(tree, name, length)
    local at = self.at
    local range = self:take(length)
    if range == nil then return end
    local f = fields[self.prefix .. name]
    if length == 0 then
        tree:add(f, self.tvb(at - 1, 1), "")
        self.values[name] = ""
        return
    end
    local item = tree:add_packet_field(f, range, ENC_UTF_8)
    for i = 0, length - 1 do
        if range(i, 1):uint() == 0 then
            item:add_proto_expert_info(experts.malformed, name .. " holds a zero byte")
            break
        end
    end
    self.values[name] = range:string(ENC_UTF_8)
end

function Reader:composed(tree, kind, name)
    local size = ({ epoch = 12, position = 20, digest = 16 })[kind]
    if self.failed or self.at + size > self.stop or self.at + size > self.tvb:len() then
        self.failed = true
        return
    end
    local sub = tree:add(fields[self.prefix .. name], self.tvb(self.at, size))
    for _, part in ipairs(COMPOSED[kind]) do self:scalar(sub, part[1], name .. "." .. part[2]) end
    local v = self.values
    if kind == "epoch" then
        sub:append_text(string.format(": %s of %s", v[name .. ".number"], v[name .. ".candidate"]))
    elseif kind == "position" then
        sub:append_text(string.format(": seq %s of epoch %s", v[name .. ".seq"],
                                      v[name .. ".epoch.number"]))
    else
        v[name] = v[name .. ".low"] .. v[name .. ".high"]:sub(3)
        sub:append_text(": " .. v[name])
    end
end

local MEMBERS_MAX, ENTRIES_MAX = 15, 24

function Reader:membership(tree, name)
    if self:take(13) == nil then return end
    self.at = self.at - 13
    local sub = tree:add(fields[self.prefix .. name], self.tvb(self.at))
    local begin = self.at
    self:scalar(sub, "u64", name .. ".seq")
    self:scalar(sub, "u32", name .. ".quorum")
    local count = self:scalar(sub, "u8", name .. ".count")
    if count == nil or count > MEMBERS_MAX then
        self.failed = true
        return
    end
    for _ = 1, count do self:scalar(sub, "id", name .. ".store") end
    sub:set_len(self.at - begin)
    sub:append_text(string.format(": %d stores, quorum %s", count, self.values[name .. ".quorum"]))
end

function Reader:epoch_table(tree, name)
    local count = self:scalar(tree, "u8", name .. ".count")
    if count == nil or count > ENTRIES_MAX then
        self.failed = true
        return
    end
    for _ = 1, count do
        self:composed(tree, "epoch", name .. ".epoch")
        self:scalar(tree, "u64", name .. ".first_seq")
        self:composed(tree, "digest", name .. ".before")
    end
end

function Reader:words(tree, name)
    local count = self:scalar(tree, "u8", name .. ".count")
    if count == nil or count == 0 or count > MEMBERS_MAX then
        self.failed = true
        return
    end
    for _ = 1, count do
        self:scalar(tree, "id", name .. ".store")
        self:scalar(tree, "id", name .. ".run")
        self:composed(tree, "epoch", name .. ".promised")
        self:composed(tree, "position", name .. ".tail")
    end
end

function Reader:string(tree, name)
    local length = self:take(1)
    if length ~= nil then self:text(tree, name, length:uint()) end
end

function Reader:layout(tree, list, special)
    for _, item in ipairs(list) do
        if self.failed then return end
        local kind, name = item:match("(%S+) (%S+)")
        if special ~= nil and special[kind] ~= nil then
            special[kind](self, tree, name)
        elseif COMPOSED[kind] ~= nil then
            self:composed(tree, kind, name)
        elseif kind == "membership" then
            self:membership(tree, name)
        elseif kind == "table" then
            self:epoch_table(tree, name)
        elseif kind == "words" then
            self:words(tree, name)
        elseif kind == "whom" or kind == "limited" then
            if self.values.who == "key" then
                self:scalar(tree, "key", "key")
            elseif self.values.who == "group" or self.values.who == "subtree" then
                self:string(tree, kind == "whom" and "group" or "subtree")
            end
        elseif kind == "string" then
            self:string(tree, name)
        elseif kind == "rest" then
            self:text(tree, name, self.stop - self.at)
        else
            self:scalar(tree, kind, name)
        end
    end
end

-- What is wrong with it, if it did not end where it should.
function Reader:finish(item)
    if self.failed and self.tvb:len() < self.tvb:reported_len() then
        item:add_proto_expert_info(experts.cut)
    elseif self.failed then
        item:add_proto_expert_info(experts.malformed, "Ends before its last field, or counts too many")
    elseif self.at < self.stop then
        item:add_proto_expert_info(experts.malformed,
                                   string.format("%d bytes after its last field", self.stop - self.at))
    end
end

local function summary(layout, values)
    local words = { layout }
    for _, name in ipairs(SUMMARIES[layout] or {}) do
        if values[name] ~= nil and values[name] ~= "" then
            words[#words + 1] = name .. "=" .. values[name]
        end
    end
    return table.concat(words, " ")
end

-- ---- digests that must agree -------------------------------------------------------------------------
-- Of each place between two batches: the digest there, by epoch of who stated it. A packet is looked at more
-- than once; what was found is kept by packet, so that it stays what it was the first time.

local PLACES_MAX = 1048576 -- then all are forgotten
local places, place_count, findings = {}, 0, {}

function cantus.init()
    places, place_count, findings = {}, 0, {}
end

local function place_of(stream_id, seq, make)
    local key = stream_id .. "/" .. seq
    if places[key] == nil and make then
        if place_count == PLACES_MAX then places, place_count = {}, 0 end
        places[key] = {}
        place_count = place_count + 1
    end
    return places[key]
end

local function compare(stream_id, seq, epoch, digest)
    local known = place_of(stream_id, seq, false)
    if known == nil then return nil end
    if known[epoch] ~= nil then return known[epoch] ~= digest and "chain_broken" or nil end
    for _, other in pairs(known) do
        if other == digest then return nil end
    end
    return "history_differs"
end

local function check_digest(pinfo, item, at, stream_id, seq, epoch, digest, record)
    local key = string.format("%d/%d/%s", pinfo.number, at, seq)
    if not pinfo.visited then
        findings[key] = compare(stream_id, seq, epoch, digest)
        if record then
            local place = place_of(stream_id, seq, true)
            if place[epoch] == nil then place[epoch] = digest end
        end
    end
    if findings[key] ~= nil then
        item:add_proto_expert_info(experts[findings[key]],
                                   string.format("Before seq %s: %s", seq,
                                                 findings[key] == "chain_broken" and
                                                 "the digest is not what this epoch said before" or
                                                 "another history than was captured before"))
    end
end

-- ---- messages and proposals --------------------------------------------------------------------------

-- Length, flags and topic; the first two bytes' value and the topic, or nil.
local function envelope(r, item, part)
    local head = r:take(2)
    if head == nil then return nil end
    item:add_le(fields[part .. ".length"], head)
    item:add_le(fields[part .. ".more"], head)
    item:add_le(fields[part .. ".fragment"], head)
    local topic = r:take(3)
    if topic == nil then return nil end
    item:add_le(fields[part .. ".topic"], topic)
    local flags = math.floor(head:le_uint() / 16384)
    if flags == 2 or topic:le_uint() == 0 then
        item:add_proto_expert_info(experts.malformed, "A fragment without more, or no topic")
    end
    return head:le_uint() % 16384, topic:le_uint()
end

local function record(item, payload, name)
    local r = reader(payload:tvb(), 0, payload:len(), name .. ".")
    r:layout(item, LAYOUTS[name])
    r:finish(item)
    if name == "reject" then item:add_proto_expert_info(experts.refused, summary(name, r.values)) end
end

local function payload_of(r, item, part, length, topic)
    local payload = r:take(length)
    if payload == nil or length == 0 then return end
    local sub = item:add(fields[part .. ".payload"], payload)
    if part == "message" and RECORDS[topic] ~= nil then record(sub, payload, RECORDS[topic]) end
end

local function messages(count)
    return function(r, tree)
        local seq = UInt64(0) + r.first_seq
        for _ = 1, count do
            local begin = r.at
            if r:take(14) == nil then return end
            r.at = begin
            local item = tree:add(fields.message, r.tvb(begin, 14))
            item:add(fields["message.seq"], seq):set_generated()
            local length, topic = envelope(r, item, "message")
            local publisher = r:take(3)
            item:add_le(fields["message.publisher"], publisher)
            local number = r:take(6)
            item:add_le(fields["message.publisher_seq"], number)
            payload_of(r, item, "message", length, topic)
            if r.failed then return end
            item:set_len(r.at - begin)
            item:append_text(string.format(" %s: %s, publisher %d number %s, %d bytes", seq,
                                           TOPICS[topic] or "topic " .. topic, publisher:le_uint(),
                                           number:le_uint64(), length))
            seq = seq + UInt64(1)
        end
        local padding = r.stop - r.at
        local zeros = r:take(padding)
        if zeros == nil or padding == 0 then return end
        local item = tree:add(fields["batch.padding"], zeros)
        if zeros:bytes():tohex():find("[^0]") ~= nil then
            item:add_proto_expert_info(experts.malformed, "Padding that is not zero")
        end
    end
end

local function entries(count)
    return function(r, tree)
        local number = UInt64(0) + r.first_number
        for _ = 1, count do
            local begin = r.at
            if r:take(6) == nil then return end
            r.at = begin
            local item = tree:add(fields.entry, r.tvb(begin, 6))
            item:add(fields["entry.publisher_seq"], number):set_generated()
            local length, topic = envelope(r, item, "entry")
            local conditional = r:scalar(item, "bool", "entry.conditional")
            if conditional == 1 then
                r:scalar(item, "u32", "entry.condition_topic")
                r:scalar(item, "u64", "entry.after_seq")
            end
            payload_of(r, item, "entry", length, topic)
            if r.failed then return end
            item:set_len(r.at - begin)
            item:append_text(string.format(" number %s: topic %d, %d bytes%s", number, topic, length,
                                           conditional == 1 and ", conditional" or ""))
            number = number + UInt64(1)
        end
    end
end

-- ---- datagrams ---------------------------------------------------------------------------------------

local MAGIC, VERSION, DATAGRAM_MAX = 0x7443, 1, 8972
local HEAD_SIZE, BODY_BATCH, BODY_FRAME = 16, 32, 24

local function body(tvb, pinfo, tree, at, stop, name, count, stream_id)
    local r = reader(tvb, at, stop, name .. ".")
    if name == "batch" then
        -- Wanted by the entries below before the layout comes to them.
        if at + 32 <= math.min(stop, tvb:len()) then r.first_seq = tvb(at + 16, 8):le_uint64() end
        r:layout(tree, LAYOUTS.batch, { messages = messages(count) })
    elseif name == "proposal" then
        if at + 16 <= math.min(stop, tvb:len()) then r.first_number = tvb(at + 8, 8):le_uint64() end
        r:layout(tree, LAYOUTS.proposal, { entries = entries(count) })
    else
        r:layout(tree, LAYOUTS[name])
    end
    r:finish(tree)
    if r.failed then return summary(name, r.values) end
    local v = r.values
    if name == "heartbeat" then
        check_digest(pinfo, tree, at, stream_id, v.next_seq, v["epoch.number"] .. v["epoch.candidate"],
                     v.digest, false)
    elseif name == "batch" then
        local epoch = v.number .. v.candidate
        check_digest(pinfo, tree, at, stream_id, v.first_seq, epoch, v.before, false)
        local next_seq = tostring(r.first_seq + UInt64(count))
        local digest = "0x" .. tvb(at - 16, 8):le_uint64():tohex() ..
                       tvb(at - 8, 8):le_uint64():tohex()
        check_digest(pinfo, tree, at, stream_id, next_seq, epoch, digest, true)
    end
    if (name == "batch" or name == "proposal") and count == 0 then
        tree:add_proto_expert_info(experts.malformed, "Counts no messages")
    end
    if name == "gap_refusal" or name == "hint" then
        tree:add_proto_expert_info(experts.refused, summary(name, v))
    end
    return summary(name, v)
end

-- One datagram at `at`, of `available` bytes at most. Its text and its end.
local function datagram(tvb, pinfo, root, at, available)
    if available < HEAD_SIZE or at + HEAD_SIZE > tvb:len() then
        local tree = root:add(cantus, tvb(at))
        tree:add_proto_expert_info(experts.bad_length, "Too short for a datagram")
        return "too short", at + available
    end
    local length, version, type = tvb(at + 4, 2):le_uint(), tvb(at + 2, 1):uint(), tvb(at + 3, 1):uint()
    local name, count = TYPES[type], tvb(at + 6, 2):le_uint()
    local foreign = tvb(at, 2):le_uint() ~= MAGIC
    local fits = length >= HEAD_SIZE and length <= available and length <= DATAGRAM_MAX
    local size = (foreign or not fits) and available or length
    local tree = root:add(cantus, tvb(at, math.min(size, tvb:len() - at)))
    tree:append_text(", " .. (name or "type " .. type))
    local magic_item = tree:add_le(fields.magic, tvb(at, 2))
    if foreign then
        magic_item:add_proto_expert_info(experts.foreign)
        return "not the magic of Cantus", at + size
    end
    local version_item = tree:add(fields.version, tvb(at + 2, 1))
    local type_item = tree:add(fields.type, tvb(at + 3, 1))
    local length_item = tree:add_le(fields.length, tvb(at + 4, 2))
    tree:add_le(fields.count, tvb(at + 6, 2))
    local stream_item = tree:add_le(fields.stream, tvb(at + 8, 8))
    if version ~= VERSION then
        version_item:add_proto_expert_info(experts.other_version)
        return "version " .. version, at + size
    end
    if not fits then
        length_item:add_proto_expert_info(experts.bad_length,
            string.format("The length field says %d, and %d arrived", length, available))
    end
    if name == nil then
        type_item:add_proto_expert_info(experts.unknown_type)
        return "unknown type " .. type, at + size
    end
    local stream_id = tvb(at + 8, 8):le_uint64():tohex()
    if stream_id == "0000000000000000" then
        stream_item:add_proto_expert_info(experts.malformed, "No stream has the id 0")
    end
    if name ~= "batch" and name ~= "proposal" and count ~= 0 then
        tree:add_proto_expert_info(experts.malformed, "Counts where there is nothing to count")
    end
    local body_at = at + (name == "batch" and BODY_BATCH or BODY_FRAME)
    local r = reader(tvb, at + HEAD_SIZE, at + size, "")
    if name == "batch" then r:composed(tree, "digest", "digest") else r:scalar(tree, "id", "checksum") end
    if r.failed then
        r:finish(tree)
        return name .. ", too short", at + size
    end
    return body(tvb, pinfo, tree, body_at, at + size, name, count, stream_id), at + size
end

local function looks_like_datagram(tvb)
    if tvb:len() < HEAD_SIZE or tvb(0, 2):le_uint() ~= MAGIC then return false end
    local length = tvb(4, 2):le_uint()
    local signs = (tvb(2, 1):uint() == VERSION and 1 or 0) + (TYPES[tvb(3, 1):uint()] and 1 or 0)
    return signs + (length >= HEAD_SIZE and length <= tvb:reported_len() and 1 or 0) >= 2
end

local TEXTS_SHOWN = 3 -- datagrams or frames of one packet, in the list of packets

local function show(pinfo, texts)
    pinfo.cols.protocol = "Cantus"
    local more = #texts - TEXTS_SHOWN
    pinfo.cols.info = table.concat(texts, "; ", 1, math.min(#texts, TEXTS_SHOWN)) ..
                      (more > 0 and string.format("; and %d more", more) or "")
end

function cantus.dissector(tvb, pinfo, root)
    if tvb:len() == 0 then return 0 end
    local at, texts = 0, {}
    while at < tvb:len() do
        texts[#texts + 1], at = datagram(tvb, pinfo, root, at, tvb:reported_len() - at)
    end
    show(pinfo, texts)
    return tvb:len()
end

-- ---- the stream ports ----------------------------------------------------------------------------------

local FRAME_HEADER, FRAME_MAX = 5, 65536

local function varint(r)
    local value, shift = UInt64(0), 0
    while shift < 64 do
        local byte = r:take(1)
        if byte == nil then return nil end
        value = value + UInt64(byte:uint() % 128):lshift(shift)
        if byte:uint() < 128 then return value end
        shift = shift + 7
    end
    r.failed = true
    return nil
end

local protobuf -- calls itself for messages within messages

local function protobuf_field(r, tree, message, number, wire)
    local item = PROTOBUF[message][number]
    local kind, name
    if item ~= nil then kind, name = item:match("(%S+) (%S+)") end
    local path = name and message:lower() .. "." .. name
    local begin, value = r.at, nil
    if wire == 0 then value = varint(r)
    elseif wire == 1 then r:take(8)
    elseif wire == 5 then r:take(4)
    elseif wire == 2 then
        local length = varint(r)
        if length == nil then return end
        begin = r.at
        if length > UInt64(FRAME_MAX) then r.failed = true else r:take(length:tonumber()) end
    else r.failed = true end
    if r.failed then return end
    local range = r.at > begin and r.tvb(begin, r.at - begin) or r.tvb(begin - 1, 1)
    local expected = name and (PROTOBUF[kind] and 2 or
        ({ string = 2, bytes = 2, fixed64 = 1, fixed32 = 5, uint32 = 0, uint64 = 0, bool = 0 })[kind])
    if expected ~= wire then
        tree:add(fields["protobuf.unknown"], range):append_text(" (field " .. number .. ")")
    elseif PROTOBUF[kind] ~= nil then
        local sub = tree:add(fields[path], range)
        local inner = protobuf(r.tvb, begin, r.at, sub, kind)
        sub:append_text(": " .. (inner.name or inner.identity or inner.agent or inner.store or
                                 inner.number or ""))
    elseif kind == "string" then
        local text = r.at > begin and range:string(ENC_UTF_8) or ""
        tree:add(fields[path], range, text)
        r.values[name] = text
    elseif kind == "bytes" then
        if r.at > begin then tree:add(fields[path], range) end
    elseif kind == "fixed32" then
        tree:add_le(fields[path], range)
    elseif kind == "fixed64" then
        tree:add_le(fields[path], range)
        r.values[name] = "0x" .. range:le_uint64():tohex()
    elseif kind == "uint64" then
        tree:add(fields[path], range, value)
        r.values[name] = tostring(value)
    elseif value > UInt64(4294967295) then
        tree:add_proto_expert_info(experts.malformed, path .. " is above 32 bits")
    elseif kind == "bool" then
        tree:add(fields[path], range, value ~= UInt64(0))
    else
        tree:add(fields[path], range, value:tonumber())
        r.values[name] = ENUMS[path] and ENUMS[path][value:tonumber()] or tostring(value)
    end
end

function protobuf(tvb, at, stop, tree, message)
    local r = reader(tvb, at, stop, message:lower() .. ".")
    while not r.failed and r.at < stop do
        local key = varint(r)
        if key ~= nil and key > UInt64(4294967295) then r.failed = true end
        if not r.failed then
            key = key:tonumber()
            protobuf_field(r, tree, message, math.floor(key / 8), key % 8)
        end
    end
    r:finish(tree)
    return r.values
end

-- How a frame of either protocol begins: its tree, end and name; without a name, what there is to say.
local function frame_head(tvb, root, protocol, prefix, names, max)
    local length, type = tvb(0, 4):le_uint(), tvb(4, 1):uint()
    local name = names[type]
    local tree = root:add(protocol, tvb())
    tree:append_text(", " .. (name or "type " .. type))
    local length_item = tree:add_le(fields[prefix .. "length"], tvb(0, 4))
    local type_item = tree:add(fields[prefix .. "type"], tvb(4, 1))
    if length == 0 or length > max then
        length_item:add_proto_expert_info(experts.bad_length, "A frame has 1 to " .. max .. " bytes")
        return tree, 0, nil, "no frame"
    elseif name == nil then
        type_item:add_proto_expert_info(experts.unknown_type)
        return tree, 0, nil, "unknown frame " .. type
    end
    return tree, length + 4, name
end

-- Cuts a connection of the protocol into frames. After a length that no frame can have, whatever is there is
-- shown, and the rest is taken for a new start.
local function dissect_frames(protocol, max, frame)
    local function length_at(tvb, _, at)
        local length = tvb(at, 4):le_uint()
        return length >= 1 and length <= max and length + 4 or tvb:len() - at
    end
    function protocol.dissector(tvb, pinfo, root)
        local texts = {}
        dissect_tcp_pdus(tvb, root, FRAME_HEADER, length_at, function(pdu, info, tree)
            texts[#texts + 1] = frame(pdu, info, tree)
            return pdu:len()
        end)
        if #texts > 0 then show(pinfo, texts) else pinfo.cols.protocol = "Cantus" end
        return tvb:len()
    end
end

dissect_frames(stream, FRAME_MAX, function(tvb, pinfo, root)
    local tree, stop, name, text = frame_head(tvb, root, stream, "frame.", FRAMES, FRAME_MAX)
    if name == nil then return text end
    if name == "batch" or name == "vouch" then
        return (datagram(tvb, pinfo, tree, FRAME_HEADER, stop - FRAME_HEADER))
    elseif name == "request" or name == "end" or name == "clients_request" then
        local r = reader(tvb, FRAME_HEADER, stop, name .. ".")
        r:layout(tree, LAYOUTS[name])
        r:finish(tree)
        return summary(name, r.values)
    elseif name == "status" or name == "command" or name == "outcome" or name == "clients" then
        local message = name:sub(1, 1):upper() .. name:sub(2)
        local values = protobuf(tvb, FRAME_HEADER, stop, tree, message)
        if values.verdict == "refused" then tree:add_proto_expert_info(experts.refused, values.text or "") end
        return summary(name, values)
    elseif name == "status_request" then
        if stop > FRAME_HEADER then tree:add_proto_expert_info(experts.malformed, "It has no body") end
    end
    return name
end)

local function looks_like_frame(tvb)
    if tvb:len() < FRAME_HEADER then return false end
    local length, name = tvb(0, 4):le_uint(), FRAMES[tvb(4, 1):uint()]
    local first = tvb:len() > FRAME_HEADER and tvb(FRAME_HEADER, 1):uint() or nil
    if name == "request" then return length == 37
    elseif name == "end" then return length == 18
    elseif name == "status_request" then return length == 1
    elseif name == "clients_request" then return length == 5
    elseif name == "batch" or name == "vouch" then
        return length > HEAD_SIZE and tvb:len() >= FRAME_HEADER + 2 and
               tvb(FRAME_HEADER, 2):le_uint() == MAGIC
    elseif name == "status" then return length <= 32769 and first == 0x0a
    elseif name == "clients" then return length <= 32769 and first == 0x08
    elseif name == "command" or name == "outcome" then return length <= 2048 and first == 0x08 end
    return false
end

-- ---- the client protocol -------------------------------------------------------------------------------

local EDGE_MAX, SUBTREES_MAX = 1050624, 1024

local EDGE_SPECIAL = {
    own_key = function(r, tree, name)
        if r.values.has_key == "1" then r:scalar(tree, "key", name) end
    end,
    condition = function(r, tree, name)
        if r.values.conditional ~= "1" then return end
        r:string(tree, name .. "_topic")
        r:scalar(tree, "u64", name .. "_after")
    end,
    subtrees = function(r, tree, name)
        local count = r:take(2)
        if count == nil or count:le_uint() > SUBTREES_MAX then
            r.failed = true
            return
        end
        for _ = 1, count:le_uint() do
            if r.failed then return end
            r:string(tree, name)
        end
    end,
    payload = function(r, tree, name)
        local length = r.stop - r.at
        local range = length > 0 and r:take(length) or nil
        if range ~= nil then tree:add(fields[r.prefix .. name], range) end
    end,
}

dissect_frames(edge, EDGE_MAX, function(tvb, _, root)
    local tree, stop, name, unnamed = frame_head(tvb, root, edge, "edge.", EDGE_TYPES, EDGE_MAX)
    if name == nil then return unnamed end
    if name == "clients" then
        return summary(name, protobuf(tvb, FRAME_HEADER, stop, tree, "Clients"))
    end
    local r = reader(tvb, FRAME_HEADER, stop, "edge_" .. name .. ".")
    r:layout(tree, LAYOUTS["edge_" .. name], EDGE_SPECIAL)
    r:finish(tree)
    local text = summary("edge_" .. name, r.values):gsub("^edge_", "")
    if name == "refused" or name == "closing" then
        tree:add_proto_expert_info(experts.refused, text)
    end
    return text
end)

-- By what a connection begins with, or any frame of a proxy's whose length is that of its type.
local EDGE_LENGTHS = { accepted = 42, subscribed = 21, changed = 9, progress = 33, opened = 41,
                       outcome = 42, forked = 21, superseded = 17 }
local function looks_like_edge(tvb)
    if tvb:len() < FRAME_HEADER + 2 then return false end
    local length, name = tvb(0, 4):le_uint(), EDGE_TYPES[tvb(4, 1):uint()]
    if name == "hello" then
        return tvb:len() >= 16 and tvb(5, 2):le_uint() == 1 and tvb(15, 1):uint() <= 1 and
               length >= 13 and length <= 108
    elseif name == "welcome" then
        return tvb(5, 2):le_uint() == 1 and length >= 44 and length <= 107
    end
    return EDGE_LENGTHS[name] ~= nil and length == EDGE_LENGTHS[name]
end

-- ---- where they are found ------------------------------------------------------------------------------

cantus.prefs.ports = Pref.range("UDP ports", "", "Taken for Cantus whatever arrives there", 65535)
stream.prefs.ports = Pref.range("Stream ports", "", "TCP; taken for Cantus whatever arrives there", 65535)

edge.prefs.ports = Pref.range("Ports of proxies", "", "TCP; taken for clients whatever arrives there", 65535)

local function follow_preference(proto, table_name)
    local registered = ""
    return function()
        if registered == proto.prefs.ports then return end
        if registered ~= "" then DissectorTable.get(table_name):remove(registered, proto) end
        registered = proto.prefs.ports
        if registered ~= "" then DissectorTable.get(table_name):add(registered, proto) end
    end
end
cantus.prefs_changed = follow_preference(cantus, "udp.port")
stream.prefs_changed = follow_preference(stream, "tcp.port")
edge.prefs_changed = follow_preference(edge, "tcp.port")

cantus:register_heuristic("udp", function(tvb, pinfo, root)
    if not looks_like_datagram(tvb) then return false end
    cantus.dissector(tvb, pinfo, root)
    return true
end)
stream:register_heuristic("tcp", function(tvb, pinfo, root)
    if looks_like_edge(tvb) or not looks_like_frame(tvb) then return false end
    pinfo.conversation = stream
    stream.dissector(tvb, pinfo, root)
    return true
end)
edge:register_heuristic("tcp", function(tvb, pinfo, root)
    if not looks_like_edge(tvb) then return false end
    pinfo.conversation = edge
    edge.dissector(tvb, pinfo, root)
    return true
end)
