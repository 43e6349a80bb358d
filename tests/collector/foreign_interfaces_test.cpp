// Other programs' HTTP interfaces from outside: bodies as their clients send them, what these are
// told, and what is in the log when they are.
#include "collector/served.hpp"
#include "support/co_test.hpp"
#include "support/compressed.hpp"

#include <doctest/doctest.h>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_literals;
using sapwood::tcp_stream;
using sapwood::collector::collector_options;
using sapwood::collector::named_log_options;
using sapwood::test::gzipped;
using sapwood::test::has;
using sapwood::test::served;
using sapwood::test::status_of;
using sapwood::test::zstd_of;

using lines = std::vector<std::string>;

constexpr const char* json = "Content-Type: application/json\r\n";

std::string get_of(std::string_view path, std::string_view method = "GET") {
    return std::string(method) + " " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
}

named_log_options log_named(const served& at, const std::string& name) {
    named_log_options log;
    log.name = name;
    log.path = at.directory / (name + ".log");
    return log;
}

/// Behind its head.
std::string body_of(const std::string& answer) {
    const auto end = answer.find("\r\n\r\n");
    return end == answer.npos ? "" : answer.substr(end + 4);
}

} // namespace

TEST_SUITE("foreign_interfaces") {
    CO_TEST_CASE("Loki's clients push streams, and have their 204 when they are kept") {
        served at;
        co_await at.begin();
        // Fluent Bit's output.
        const std::string pushed = co_await at.post(
            R"({"streams":[{"stream":{"job":"fluentbit"},"values":[["1690000000000000000","{\"log\":\"started\"}"]]}]})",
            "/loki/api/v1/push", json);
        CHECK(status_of(pushed) == 204);
        CHECK(body_of(pushed).empty());
        CHECK_FALSE(has(pushed, "Content-Length"));
        // Vector's sink, compressed.
        if (const auto body = gzipped(
                R"({"streams":[{"stream":{"app":"shop","level":"error"},"values":[["1690000000000000001","paid",{"trace_id":"7"}]]}]})")) {
            CHECK(status_of(co_await at.post(*body, "/loki/api/v1/push",
                                             json + "Content-Encoding: gzip\r\n"s)) == 204);
        }
        CHECK(has(co_await at.exchange(get_of("/ready")), "ready"));
        const std::string wrong = co_await at.post(
            R"({"streams":[{"stream":{},"values":[["x","y"]]}]})", "/loki/api/v1/push", json);
        CHECK(status_of(wrong) == 400);
        CHECK(body_of(wrong).starts_with("stream 1, value 1: its time is not nanoseconds"));
        // Promtail and Alloy send this, and nothing else.
        const std::string snappy = co_await at.post("\x0a\x01", "/loki/api/v1/push",
                                                    "Content-Type: application/x-protobuf\r\n"
                                                    "Content-Encoding: snappy\r\n");
        CHECK(status_of(snappy) == 415);
        CHECK(has(snappy, "tell the client to send JSON"));
        co_await at.end();
        const lines found = at.records();
        REQUIRE(found.size() == (gzipped("") ? 2 : 1));
        CHECK(
            found[0] ==
            R"({"timestamp":"2023-07-22T04:26:40.000000000Z","message":"{\"log\":\"started\"}","job":"fluentbit"})");
        if (found.size() == 2) {
            CHECK(
                found[1] ==
                R"({"timestamp":"2023-07-22T04:26:40.000000001Z","message":"paid","app":"shop","level":"error","trace_id":"7"})");
            CHECK(has(sapwood::test::contents_of(at.directory / "app.log"), " error [http "));
        }
    }

    CO_TEST_CASE("Elasticsearch's clients find a version they know, and each document its status") {
        served at;
        co_await at.begin();
        const std::string info = co_await at.exchange(get_of("/"));
        CHECK(status_of(info) == 200);
        CHECK(has(info, "X-Elastic-Product: Elasticsearch\r\n"));
        CHECK(has(info, R"("version":{"number":"8.)"));
        const std::string head = co_await at.exchange(get_of("/", "HEAD"));
        CHECK(status_of(head) == 200);
        CHECK(body_of(head).empty());
        CHECK(has(co_await at.exchange(get_of("/_license?human=false")), R"("status":"active")"));
        CHECK(status_of(co_await at.exchange(get_of("/_cluster/health"))) == 200);
        CHECK(status_of(co_await at.exchange(get_of("/_ilm/policy/filebeat"))) == 200);
        CHECK(status_of(co_await at.post("{}", "/_index_template/filebeat")) == 405);
        // Fluent Bit's output.
        const std::string all_well =
            co_await at.post("{\"create\":{\"_index\":\"fluent-bit\",\"_type\":\"_doc\"}}\n"
                             "{\"@timestamp\":\"2023-07-22T04:26:40.000Z\",\"log\":\"one\"}\n",
                             "/_bulk", "Content-Type: application/x-ndjson\r\n");
        CHECK(status_of(all_well) == 200);
        CHECK(has(all_well, "X-Elastic-Product: Elasticsearch\r\n"));
        CHECK(
            body_of(all_well) ==
            R"({"took":0,"errors":false,"items":[{"create":{"_index":"fluent-bit","_version":1,"result":"created","status":201}}]})");
        // Vector's sink, of which one document is wrong.
        const std::string some =
            co_await at.post("{\"index\":{\"_index\":\"vector-2023.07.22\"}}\n{\"message\":\"two\","
                             "\"level\":\"warn\"}\n"
                             "{\"index\":{\"_index\":\"vector-2023.07.22\"}}\n{\"message\":}\n",
                             "/_bulk?timeout=60s", "Content-Type: application/json\r\n");
        CHECK(status_of(some) == 200);
        CHECK(has(some, R"("errors":true)"));
        CHECK(has(some, R"("status":201)"));
        CHECK(has(some, R"("status":400)"));
        // The Python client, of 8.
        CHECK(status_of(co_await at.post(
                  "{\"index\":{}}\n{\"message\":\"three\"}\n", "/logs/_bulk",
                  "Content-Type: application/vnd.elasticsearch+x-ndjson; compatible-with=8\r\n")) ==
              200);
        const std::string cut =
            co_await at.post("{\"index\":{}}\n{\"message\":\"four\"}", "/_bulk");
        CHECK(status_of(cut) == 400);
        CHECK(has(cut, R"("type":"illegal_argument_exception")"));
        co_await at.end();
        CHECK(at.records() == lines{R"({"@timestamp":"2023-07-22T04:26:40.000Z","log":"one"})",
                                    R"({"message":"two","level":"warn"})",
                                    R"({"message":"three"})"});
    }

    CO_TEST_CASE("Splunk's clients send events and lines, and have their code") {
        served at;
        co_await at.begin();
        constexpr std::string_view success = R"({"text":"Success","code":0})";
        const std::string sent = co_await at.post(
            R"({"time":1690000000.123,"host":"web","event":{"line":"one","tag":"x"}})"
            R"({"time":"1690000000.124","event":"two","fields":{"level":"error"}})",
            "/services/collector/event", "Authorization: Splunk 00000000-0000-0000\r\n");
        CHECK(status_of(sent) == 200);
        CHECK(body_of(sent) == success);
        // What curl -d says of its body.
        CHECK(body_of(co_await at.post(R"({"event":"three"})", "/services/collector",
                                       "Content-Type: application/x-www-form-urlencoded\r\n")) ==
              success);
        CHECK(body_of(co_await at.post("four\nfive\n", "/services/collector/raw/1.0?host=web")) ==
              success);
        CHECK(status_of(co_await at.exchange(get_of("/services/collector/health/1.0"))) == 200);
        // Docker's log driver.
        CHECK(status_of(co_await at.exchange(get_of("/services/collector/event/1.0", "OPTIONS"))) ==
              200);
        const auto refused = [&](std::string body, std::string path) {
            return at.post(std::move(body), "/services/collector" + path);
        };
        CHECK(has(co_await refused("", "/event"), R"({"text":"No data","code":5,)"));
        CHECK(has(co_await refused(R"({"event":1}{"a":2})", "/event"),
                  R"({"text":"Event field is required","code":12,"invalid-event-number":1,)"));
        CHECK(has(co_await refused(R"({"event":""})", "/event"), R"("code":13,)"));
        CHECK(has(co_await refused("x", "/event"), R"({"text":"Invalid data format","code":6,)"));
        CHECK(has(co_await refused("{}", "/ack"), R"({"text":"ACK is disabled","code":14,)"));
        CHECK(status_of(co_await refused("", "/none")) == 404);
        co_await at.end();
        CHECK(at.records() ==
              lines{R"({"time":1690000000.123,"host":"web","event":{"line":"one","tag":"x"}})",
                    R"({"time":"1690000000.124","event":"two","fields":{"level":"error"}})",
                    R"({"event":"three"})", R"({"message":"four","host":"web"})",
                    R"({"message":"five","host":"web"})"});
    }

    CO_TEST_CASE("Splunk's health is that of the moment, on a connection that asks again, too") {
        served at;
        co_await at.begin();
        auto client = co_await tcp_stream::connect(at.it->endpoints().front());
        const std::string request = get_of("/services/collector/health");
        std::string answer(4096, ' ');
        co_await client.write_all(std::string_view(request));
        answer.resize(co_await client.read_some(answer));
        CHECK(has(answer, R"("code":17})"));
        at.it->shared().is_told_to_end = true;
        co_await client.write_all(std::string_view(request));
        answer = co_await sapwood::test::read_to_end(client);
        CHECK(status_of(answer) == 503);
        CHECK(has(answer, R"("code":18})"));
        CHECK(has(answer, "Retry-After: "));
        at.it->shared().is_told_to_end = false;
        co_await at.end();
    }

    CO_TEST_CASE("OpenTelemetry's exporters send logs in JSON, and no protobuf") {
        served at;
        co_await at.begin();
        const std::string body =
            R"({"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},)"
            R"("scopeLogs":[{"scope":{"name":"cart"},"logRecords":[{"timeUnixNano":"1690000000000000000",)"
            R"("severityNumber":13,"severityText":"WARN","body":{"stringValue":"slow"},)"
            R"("attributes":[{"key":"ms","value":{"intValue":"900"}}],"traceId":"","spanId":""}]}]}]})";
        const std::string plain = co_await at.post(body, "/v1/logs", json);
        CHECK(status_of(plain) == 200);
        CHECK(body_of(plain) == "{}");
        const auto packed = zstd_of(body);
        if (packed) {
            CHECK(status_of(co_await at.post(*packed, "/v1/logs",
                                             json + "Content-Encoding: zstd\r\n"s)) == 200);
        }
        const std::string binary =
            co_await at.post("\x0a", "/v1/logs", "Content-Type: application/x-protobuf\r\n");
        CHECK(status_of(binary) == 415);
        CHECK(has(binary, R"({"code":3,"message":)"));
        CHECK(status_of(co_await at.post(R"({"resourceLogs":1})", "/v1/logs", json)) == 400);
        co_await at.end();
        const std::string record =
            R"({"timestamp":"2023-07-22T04:26:40.000000000Z","severity":"WARN","message":"slow",)"
            R"("ms":900,"resource.service.name":"shop","scope.name":"cart"})";
        CHECK(at.records() == (packed ? lines{record, record} : lines{record}));
        CHECK(has(sapwood::test::contents_of(at.directory / "app.log"), " warning [http "));
    }

    CO_TEST_CASE("OpenTelemetry's exporters are told how many log records were refused, and the "
                 "others are kept") {
        served at;
        co_await at.begin();
        const auto logs = [](const std::string& all) {
            return R"({"resourceLogs":[{"scopeLogs":[{"logRecords":[)" + all + "]}]}]}";
        };
        std::string records = R"({"flags":1},{"timeUnixNano":"x"},{"flags":2})";
        const std::string some = co_await at.post(logs(records), "/v1/logs", json);
        CHECK(status_of(some) == 200);
        CHECK(body_of(some) == R"({"partialSuccess":{"rejectedLogRecords":"1","errorMessage":)"
                               R"("log record 2: its time is not nanoseconds since 1970"}})");
        const std::string none =
            co_await at.post(logs(R"({"timeUnixNano":"x"},{"body":1})"), "/v1/logs", json);
        CHECK(status_of(none) == 400);
        CHECK(has(none, "log record 1: its time is not nanoseconds since 1970"));
        // The same of a body that is decoded on a thread, and given to the log in slices.
        for (int i = 3; i < 10'000; ++i) {
            records += i % 10 == 0 ? R"(,{"body":1})" : R"(,{"flags":)" + std::to_string(i) + "}";
        }
        const std::string many = co_await at.post(logs(records), "/v1/logs", json);
        CHECK(status_of(many) == 200);
        CHECK(has(many, R"({"partialSuccess":{"rejectedLogRecords":"1000","errorMessage":)"));
        co_await at.end();
        const lines found = at.records();
        REQUIRE(found.size() == 2 + 2 + 9997 - 999);
        CHECK(found[0] == R"({"flags":1})");
        CHECK(found[1] == R"({"flags":2})");
        CHECK(found.back() == R"({"flags":9999})");
    }

    CO_TEST_CASE("a body that is too long by its length is refused in its client's own words") {
        collector_options options;
        options.limits.http.body_bytes_max = 100;
        served at(std::move(options));
        co_await at.begin();
        const std::string body = "{\"a\":1}\n" + std::string(200, ' ');
        const std::string bulk = co_await at.post(body, "/_bulk");
        CHECK(status_of(bulk) == 413);
        CHECK(has(bulk, "X-Elastic-Product: Elasticsearch\r\n"));
        CHECK(has(bulk, R"("type":"content_too_long_exception")"));
        const std::string splunk = co_await at.post(body, "/services/collector/event");
        CHECK(status_of(splunk) == 413);
        CHECK(body_of(splunk).starts_with(R"({"text":"Invalid data format","code":6,)"));
        const std::string otlp = co_await at.post(body, "/v1/logs", json);
        CHECK(status_of(otlp) == 413);
        CHECK(body_of(otlp) == R"({"code":3,"message":"the body is too long"})");
        const std::string loki = co_await at.post(body, "/loki/api/v1/push", json);
        CHECK(status_of(loki) == 413);
        CHECK(body_of(loki) == "the body is too long\n");
        const std::string native = co_await at.post(body);
        CHECK(status_of(native) == 413);
        CHECK(body_of(native) == R"({"status":"0","result":"the body is too long"})");
        co_await at.end();
        CHECK(at.records().empty());
    }

    CO_TEST_CASE("every interface stands behind a log's name, too, and an index may be one") {
        served names;
        collector_options options;
        options.logs.push_back(log_named(names, "app"));
        options.logs.push_back(log_named(names, "billing"));
        served at(std::move(options));
        co_await at.begin();
        const std::string document = "{\"index\":{\"_index\":\"app\"}}\n{\"a\":1}\n";
        CHECK(status_of(co_await at.post(document, "/log/billing/_bulk")) == 200);
        CHECK(status_of(co_await at.post(document, "/billing/_bulk")) == 200);
        CHECK(status_of(co_await at.post(document, "/..%2fbilling/_bulk")) == 200);
        CHECK(status_of(co_await at.post(R"({"event":1})", "/log/billing/services/collector")) ==
              200);
        CHECK(status_of(co_await at.post("{}", "/log/billing/v1/logs")) == 200);
        CHECK(status_of(co_await at.post(R"({"streams":[]})", "/log/billing/loki/api/v1/push")) ==
              204);
        CHECK(status_of(co_await at.exchange(get_of("/log/billing/"))) == 200);
        CHECK(status_of(co_await at.post(document, "/log/none/_bulk")) == 404);
        CHECK(status_of(co_await at.post(document, "/log/../_bulk")) == 404);
        CHECK(status_of(co_await at.post(document, "/a/b/_bulk")) == 404);
        co_await at.end();
        const auto count = [&](const char* name) {
            return sapwood::test::count_of(sapwood::test::contents_of(names.directory / name),
                                           "\n");
        };
        CHECK(count("billing.log") == 3);
        CHECK(count("app.log") == 1);
    }

    CO_TEST_CASE(
        "a compressed body is one, whatever the interface; a bomb and a torn one are none") {
        collector_options options;
        options.limits.decompression.bytes_max = 100'000;
        served at(std::move(options));
        co_await at.begin();
        const auto one = gzipped(R"({"a":1})");
        const auto bomb = gzipped("{\"a\":\"" + std::string(1u << 20, ' ') + "\"}");
        if (!one) {
            MESSAGE("skipped: built without zlib");
        } else {
            constexpr const char* coded = "Content-Encoding: gzip\r\n";
            CHECK(status_of(co_await at.post(*one, "/log", coded)) == 200);
            CHECK(status_of(co_await at.post(*one, "/log", "Content-Encoding: x-gzip\r\n")) == 200);
            CHECK(status_of(co_await at.post(*bomb, "/log", coded)) == 413);
            CHECK(status_of(co_await at.post(one->substr(0, 12), "/log", coded)) == 400);
            CHECK(status_of(co_await at.post(*one + "{\"a\":2}", "/log", coded)) == 400);
            CHECK(status_of(co_await at.post("{\"a\":3}", "/log", coded)) == 400);
            // The one behind it is as good as ever, on the same connection.
            const std::string both = co_await at.exchange(
                served::post_of(one->substr(0, 12), "/log", coded) + served::post_of("{\"b\":1}"));
            CHECK(sapwood::test::count_of(both, "HTTP/1.1 200 OK") == 1);
        }
        CHECK(status_of(co_await at.post("{}", "/log", "Content-Encoding: deflate\r\n")) == 415);
        CHECK(status_of(co_await at.post("{}", "/log", "Content-Encoding: gzip, gzip\r\n")) == 415);
        co_await at.end();
        CHECK(at.records() == (one ? lines{R"({"a":1})", R"({"a":1})", R"({"b":1})"} : lines{}));
    }

    CO_TEST_CASE(
        "a token may be shown as each client shows it, and its want is told in its words") {
        collector_options options;
        options.tokens.push_back({.name = "shop", .secret = "0123456789abcdef", .logs = {"app"}});
        served at(std::move(options));
        co_await at.begin();
        const std::string document = "{\"index\":{}}\n{\"a\":1}\n";
        // shop:0123456789abcdef
        const std::string basic = "c2hvcDowMTIzNDU2Nzg5YWJjZGVm";
        const auto with = [&](std::string field) {
            return at.post(document, "/_bulk",
                           field.empty() ? field : "Authorization: " + field + "\r\n");
        };
        CHECK(status_of(co_await with("Basic " + basic)) == 200);
        CHECK(status_of(co_await with("ApiKey " + basic)) == 200);
        CHECK(status_of(co_await with("Bearer 0123456789abcdef")) == 200);
        CHECK(status_of(co_await with("Splunk 0123456789abcdef")) == 200);
        for (const char* const wrong : {"", "Basic c2hvcDp4", "Basic c2hvcA==", "Basic ", "Splunk",
                                        "Digest 0123456789abcdef", "0123456789abcdef"}) {
            CAPTURE(wrong);
            const std::string answer = co_await with(wrong);
            CHECK(status_of(answer) == 401);
            CHECK(has(answer, R"("type":"security_exception")"));
        }
        CHECK(has(co_await at.post("{\"event\":1}", "/services/collector"),
                  R"({"text":"Token is required","code":2,)"));
        CHECK(has(co_await at.post("{}", "/v1/logs", json), R"({"code":16,)"));
        co_await at.end();
        CHECK(at.records().size() == 4);
    }
}
