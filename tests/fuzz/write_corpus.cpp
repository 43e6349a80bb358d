// Writes what the fuzzers begin with into a folder: `write_corpus DIRECTORY`.
#include "support/hostile_strings.hpp"

#include <sapwood/log_ring.hpp>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

namespace {

/// A ring of a few frames, one of them behind the end of a lap.
std::string small_ring() {
    using namespace sapwood::detail;
    log_ring_memory memory(4096);
    log_ring_writer writer(memory.header());
    log_ring_reader reader(memory.header());
    for (int i = 0; i < 60; ++i) {
        bool half_full = false;
        const std::string text = "text " + std::string(static_cast<std::size_t>(i), 'x');
        const std::size_t bytes = (sizeof(log_frame) + text.size() + 7) / 8 * 8;
        char* place = writer.reserve(bytes);
        place = place != nullptr ? place : writer.reserve_slowly(bytes, half_full);
        if (place == nullptr) {
            break;
        }
        const log_frame frame{.bytes = static_cast<std::uint32_t>(bytes),
                              .sequence = static_cast<std::uint32_t>(i),
                              .ticks = 0,
                              .message_bytes = static_cast<std::uint32_t>(text.size()),
                              .logger = 0,
                              .importance = 2,
                              .flags = 0};
        std::memcpy(place, &frame, sizeof(frame));
        std::memcpy(place + sizeof(frame), text.data(), text.size());
        writer.commit(bytes);
        if (i < 40 && reader.begin()) {
            while (const auto* const front = reader.front()) {
                reader.pop(*front);
            }
            reader.end();
        }
    }
    return {reinterpret_cast<const char*>(&memory.header()), sizeof(log_ring_header) + 4096};
}

/// A body of each interface, by itself and in a request.
template <class Write>
void write_bodies(const Write& write) {
    struct seed {
        const char* path;
        char letter;
        const char* body;
    };

    static constexpr seed seeds[] = {
        {"/loki/api/v1/push", 'l',
         R"({"streams":[{"stream":{"app":"x","level":"warn"},"values":[["1690000000000000000","a"],)"
         R"(["2","b",{"app":"y"}]]}]})"},
        {"/loki/api/v1/push", 'l',
         R"({"streams":[{"stream":{},"values":[["-9223372036854775808","a"]]}]})"},
        {"/_bulk", 'b',
         "{\"index\":{\"_index\":\"i\",\"_id\":\"1\"}}\n{\"a\":1}\n"
         "{\"delete\":{}}\n{\"create\":{}}\n{\"b\":[]}\n"},
        {"/services/collector", 's',
         R"({"time":1.5,"host":"h","event":"a"}{"event":{"b":1},"fields":{"c":"d"}})"},
        {"/services/collector/raw?host=a%20b", 'r', "host=a%20b&time=1\none\r\n\ntwo"},
        {"/v1/logs", 'o',
         R"({"resourceLogs":[{"resource":{"attributes":[{"key":"a","value":{"stringValue":"b"}}]},)"
         R"("scopeLogs":[{"scope":{"name":"s"},"logRecords":[{"timeUnixNano":"1","severityNumber":9,)"
         R"("body":{"kvlistValue":{"values":[{"key":"k","value":{"arrayValue":{"values":[)"
         R"({"intValue":"1"},{"doubleValue":0.5},{"boolValue":true}]}}}]}},"traceId":"00"}]}]}]})"},
        {"/log", 'b', R"([{"level":"error","a":"\u202e\n"}, {"b":[[{}]]}])"},
        {"/log?ack=written", 'b', R"({"levelno":30})"},
    };
    for (const seed& each : seeds) {
        const std::string body = each.body;
        write("bodies", each.letter + body);
        write("record", body);
        write("session",
              "\x20POST " + std::string(each.path) +
                  " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(body.size()) +
                  "\r\n\r\n" + body + "GET /log?a=b HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    // The same head again, which is not parsed again.
    const std::string head = "POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\n";
    write("session", "\x11" + head + "{\"a\":1}" + head + "{\"a\":2}" + head + "{\"a\"  }" + head +
                         "{\"a\":4}");
    write("http", "\x11" + head + "{\"a\":1}" + head + "{\"a\":2}" + head + "GET /lo");
    // `{"a":1}` as gzip and zstd have it.
    const std::string gzip("\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x4a\x54\xb2\x32"
                           "\xac\x05\x00\xaf\xac\x1b\x56\x07\x00\x00\x00",
                           27);
    const std::string zstd("\x28\xb5\x2f\xfd\x20\x07\x39\x00\x00{\"a\":1}", 16);
    write("bodies", "g" + gzip + gzip);
    write("bodies", "z" + zstd);
    for (const auto& [name, body] :
         {std::pair<std::string, std::string>{"gzip", gzip}, {"zstd", zstd}}) {
        write("session", "\x07POST /log HTTP/1.1\r\nHost: [::1]\r\nContent-Encoding: " + name +
                             "\r\nTransfer-Encoding: chunked\r\n\r\n" +
                             (name == "gzip" ? "1b" : "10") + "\r\n" + body + "\r\n0\r\n\r\n");
    }
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fputs("usage: write_corpus DIRECTORY\n", stderr);
        return 2;
    }
    const std::filesystem::path directory = argv[1];
    int files = 0;
    const auto write = [&](const char* target, const std::string& text) {
        std::filesystem::create_directories(directory / target);
        std::ofstream(directory / target / std::to_string(files++), std::ios::binary) << text;
    };
    const auto& strings = sapwood::test::hostile_strings();
    for (std::size_t i = 0; i < strings.size(); ++i) {
        write("escape", strings[i]);
        std::string parts = strings[i];
        for (std::size_t k = 1; k < 6; ++k) {
            parts += '\xfe' + strings[(i + k) % strings.size()];
        }
        write("forms", strings[i]);
        write("forms", parts);
        write("record", strings[i]);
        write("bodies", "r" + strings[i]);
    }
    write("ring", small_ring());
    write_bodies(write);
    const std::string head = "POST /log HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    write("http", "\xff" + head + "Content-Length: 20\r\n\r\n[{\"a\":1},\n{\"b\":[2]}]" + head +
                      "Content-Length: 3\r\n\r\na=b");
    write("http", "\x03" + head +
                      "Transfer-Encoding: chunked\r\n\r\n4;x=y\r\n{\"a\"\r\n3\r\n:1}\r\n"
                      "0\r\nA: b\r\n\r\nGET /log?a=%20b+c HTTP/1.0\r\n\r\n");
    write("line", "0000000000000042|ef34678f 2026-11-21 22:39:56.123 17#5 info paid user=\"a b\"\n"
                  "{\"time\":\"2026-11-21T22:39:56Z\",\"level\":\"info\",\"message\":\"\","
                  "\"fields\":{\"a\":1}}\n"
                  "2026-11-21 22:39:56.123 0 info [http 127.0.0.1:1] {\"a\":{\"b\":[2]}}\n"
                  "time=2026-11-21T22:39:56.1+01:00 level=error message=\"\\\"\" user=7\n"
                  "[2026-11-21 22:39:56,123] [app] [warning] text\n");
    write("syslog",
          "<165>1 2026-11-26T22:14:15.003Z web app 17 ID47 [a@1 x=\"\\\"]\"][b] an event");
    write("syslog", "<13>Nov  6 21:05:07 web su[17]: it failed");
    write("tree",
          "{\"task_uuid\":\"u\",\"task_level\":[1],\"timestamp\":1.5,\"action_type\":\"a\","
          "\"action_status\":\"started\",\"x\":{\"y\":[1,{}]}}\n"
          "{\"time\":\"2026-11-21T22:39:56Z\",\"record\":{\"task_uuid\":\"u\",\"task_level\":[2,2],"
          "\"message_type\":\"m\",\"text\":\"a\\nb\"}}\n"
          "2026-11-21 22:39:56.123 17 info a k=\"v w\" task_uuid=u task_level=/3 "
          "action_status=cancelled action_duration=0.5 action_children=1\n");
    return 0;
}
