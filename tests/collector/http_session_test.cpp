// A collector by HTTP, from outside: what is answered, what is in the log afterwards, and that a
// connection ends where its framing is in doubt.
#include "collector/served.hpp"
#include "support/co_test.hpp"
#include "support/hostile_strings.hpp"

#include <sapwood/event_loop.hpp>
#include <sapwood/numbered_line.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/timeout.hpp>

#include <doctest/doctest.h>
#include <filesystem>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;
using sapwood::task;
using sapwood::tcp_stream;
using sapwood::collector::ack_level;
using sapwood::collector::collector_options;
using sapwood::collector::log_form;
using sapwood::collector::named_log_options;
using sapwood::test::count_of;
using sapwood::test::has;
using sapwood::test::served;
using sapwood::test::status_of;

using lines = std::vector<std::string>;

constexpr std::string_view success = "{\"status\":\"1\",\"result\":\"success\"}";

/// Reads answers until there are `count`.
task<std::string> read_answers(tcp_stream& from, std::size_t count) {
    std::string text;
    std::string piece(4096, ' ');
    while (count_of(text, "\r\n\r\n") < count) {
        const auto got = co_await from.read_some(piece);
        if (got == 0) {
            break;
        }
        text.append(piece, 0, got);
    }
    co_return text;
}

std::string get_of(std::string_view path) {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
}

collector_options two_logs(const served& at) {
    collector_options options;
    for (const char* const name : {"app", "billing"}) {
        named_log_options& log = options.logs.emplace_back();
        log.name = name;
        log.path = at.directory / (std::string(name) + ".log");
    }
    return options;
}

} // namespace

TEST_SUITE("http_session") {
    CO_TEST_CASE("a record is in the log as it was sent, with when and from where") {
        served at;
        co_await at.begin();
        const std::string answer = co_await at.post(R"({"level":"warn","msg":"paid","user":7})");
        CHECK(status_of(answer) == 200);
        CHECK(has(answer, "Content-Type: application/json\r\n"));
        CHECK(has(answer, "Date: "));
        CHECK(answer.ends_with(success));
        co_await at.end();
        const std::string line = sapwood::test::contents_of(at.directory / "app.log");
        CHECK(has(line, " 0 warning [http 127.0.0.1:"));
        CHECK(line.ends_with("] {\"level\":\"warn\",\"msg\":\"paid\",\"user\":7}\n"));
        CHECK(sapwood::numbered_line::parse(line.substr(0, line.size() - 1)).is ==
              sapwood::numbered_line::state::whole);
    }

    CO_TEST_CASE("an array, objects a line and forms are records") {
        served at;
        co_await at.begin();
        CHECK(status_of(co_await at.post(R"([{"a":1},{"a":2}])")) == 200);
        CHECK(status_of(co_await at.post("{\"a\":3}\n{\"a\":4}\n", "/log",
                                         "Content-Type: application/x-ndjson\r\n")) == 200);
        const std::string form = "Content-Type: application/x-www-form-urlencoded\r\n";
        CHECK(status_of(co_await at.post("a=5&b=x+y", "/log", form)) == 200);
        CHECK(status_of(co_await at.post("{\"a\":6}", "/log", form)) == 200); // curl -d
        CHECK(status_of(co_await at.exchange("GET /log?a=7 HTTP/1.1\r\nHost: localhost\r\n\r\n")) ==
              200);
        CHECK(status_of(co_await at.post("[]")) == 200);
        co_await at.end();
        CHECK(at.records() == lines{R"({"a":1})", R"({"a":2})", R"({"a":3})", R"({"a":4})",
                                    R"({"a":"5","b":"x y"})", R"({"a":6})", R"({"a":"7"})"});
    }

    CO_TEST_CASE("records have the trace of their request") {
        served at;
        co_await at.begin();
        const std::string trace =
            "TraceParent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
        CHECK(status_of(co_await at.post(R"([{"a":1},{"trace_id":"own"}])", "/log", trace)) == 200);
        CHECK(status_of(co_await at.post(R"({"a":2})", "/log", trace + trace)) == 200); // which?
        CHECK(status_of(co_await at.post(R"({"a":3})")) == 200);
        co_await at.end();
        CHECK(at.records() == lines{R"({"a":1,"trace_id":"0af7651916cd43dd8448eb211c80319c",)"
                                    R"("span_id":"b7ad6b7169203331"})",
                                    R"({"trace_id":"own"})", R"({"a":2})", R"({"a":3})"});
    }

    CO_TEST_CASE("where one record is wrong none is kept, and the answer names it") {
        served at;
        co_await at.begin();
        const std::string answer = co_await at.post(R"([{"a":1},{"a":}])");
        CHECK(status_of(answer) == 400);
        CHECK(answer.ends_with(R"({"status":"0","result":"record 2: it is not JSON"})"));
        CHECK_FALSE(has(answer, "Connection: close")); // the framing is not in doubt
        co_await at.end();
        CHECK(at.records().empty());
    }

    CO_TEST_CASE("requests that come together are answered in order") {
        served at;
        co_await at.begin();
        std::string requests;
        lines expected;
        for (int i = 0; i < 50; ++i) {
            const std::string record = "{\"n\":" + std::to_string(i) + "}";
            requests += served::post_of(record);
            expected.push_back(record);
            if (i % 10 == 3) {
                requests += served::post_of("{");
            }
        }
        const std::string answers = co_await at.exchange(requests);
        CHECK(count_of(answers, "HTTP/1.1 200 OK\r\n") == 50);
        CHECK(count_of(answers, "HTTP/1.1 400 ") == 5);
        CHECK(answers.find("HTTP/1.1 400 ") > answers.find("HTTP/1.1 200 OK\r\n"));
        co_await at.end();
        CHECK(at.records() == expected);
    }

    CO_TEST_CASE("a request that comes byte by byte is one request") {
        served at;
        co_await at.begin();
        auto client = co_await tcp_stream::connect(at.it->endpoints().front());
        for (const char byte : served::post_of(R"({"slow":true})")) {
            co_await client.write_all(std::string_view(&byte, 1));
            co_await sapwood::test::settle();
        }
        CHECK(status_of(co_await read_answers(client, 1)) == 200);
        co_await at.end();
        CHECK(at.records() == lines{R"({"slow":true})"});
    }

    CO_TEST_CASE("a chunked body is a body, and so is one that was asked for") {
        served at;
        co_await at.begin();
        const std::string chunked =
            "POST /log HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            "\r\n4;x=y\r\n{\"a\"\r\n3\r\n:1}\r\n0\r\nA: b\r\n\r\n";
        CHECK(status_of(co_await at.exchange(chunked)) == 200);

        auto client = co_await tcp_stream::connect(at.it->endpoints().front());
        const std::string request =
            served::post_of(R"({"a":2})", "/log", "Expect: 100-continue\r\n");
        const auto head_bytes = request.find("\r\n\r\n") + 4;
        co_await client.write_all(std::string_view(request).substr(0, head_bytes));
        CHECK(co_await read_answers(client, 1) == "HTTP/1.1 100 Continue\r\n\r\n");
        co_await client.write_all(std::string_view(request).substr(head_bytes));
        CHECK(status_of(co_await read_answers(client, 1)) == 200);
        co_await at.end();
        CHECK(at.records() == lines{R"({"a":1})", R"({"a":2})"});
    }

    CO_TEST_CASE("a body that nobody wants is refused before it comes") {
        served at;
        co_await at.begin();
        const std::string request =
            served::post_of(R"({"a":1})", "/nothing", "Expect: 100-continue\r\n");
        const std::string answer = co_await at.exchange(request.substr(0, request.find("{")));
        CHECK(status_of(answer) == 404);
        CHECK(has(answer, "Connection: close\r\n"));
        const std::string large =
            "POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n";
        CHECK(status_of(co_await at.exchange(large)) == 413);
        co_await at.end();
        CHECK(at.records().empty());
    }

    CO_TEST_CASE("each mistake has its status") {
        served at;
        co_await at.begin();
        const std::string post = "{}";
        CHECK(status_of(co_await at.post(post, "/")) == 404);
        CHECK(status_of(co_await at.post(post, "/log/none")) == 404);
        CHECK(status_of(co_await at.post(post, "/log/../../etc/passwd")) == 404);
        CHECK(status_of(co_await at.post(post, "/log/%2e%2e%2fx")) == 404);
        CHECK(status_of(co_await at.post(post, "/log/app/x")) == 404);
        CHECK(status_of(co_await at.post(post, "/log", "Content-Type: image/png\r\n")) == 415);
        CHECK(status_of(co_await at.post(post, "/log", "Content-Encoding: br\r\n")) == 415);
        CHECK(status_of(co_await at.post(post, "/log?ack=soon")) == 400);
        CHECK(status_of(co_await at.exchange("DELETE /log HTTP/1.1\r\nHost: localhost\r\n\r\n")) ==
              405);
        CHECK(status_of(co_await at.exchange("GET /log HTTP/1.1\r\nHost: localhost\r\n\r\n")) ==
              400);
        CHECK(status_of(co_await at.post(post, "/healthz")) == 405);
        CHECK(status_of(co_await at.post("")) == 400);
        co_await at.end();
        CHECK(at.records().empty());
    }

    CO_TEST_CASE(
        "where the framing is in doubt the connection ends, and nothing behind it counts") {
        served at;
        co_await at.begin();
        const std::string behind = served::post_of(R"({"smuggled":true})");
        for (const std::string& fields :
             {"Content-Length: 7\r\nContent-Length: 0\r\n"s, "Content-Length: 7, 7\r\n"s,
              "Transfer-Encoding: chunked\r\nContent-Length: 7\r\n"s,
              "Transfer-Encoding: xchunked\r\n"s, "Content-Length : 0\r\n"s,
              "A: b\nContent-Length: 0\r\n"s, "A: b\r\n c\r\nContent-Length: 0\r\n"s}) {
            CAPTURE(fields);
            const std::string answer = co_await at.exchange(
                "POST /log HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n" + behind);
            CHECK(status_of(answer) >= 400);
            CHECK(count_of(answer, "HTTP/1.1 ") == 1);
            CHECK(has(answer, "Connection: close\r\n"));
        }
        co_await at.end();
        CHECK(at.records().empty());
    }

    CO_TEST_CASE(
        "a newline that a chunk's extension quotes ends the connection, and hides no request") {
        served at;
        co_await at.begin();
        const std::string answer = co_await at.exchange(
            "POST /log HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            "2;x=\"\n\"\r\n{}\r\n0\r\n\r\n" +
            served::post_of(R"({"smuggled":true})"));
        CHECK(status_of(answer) == 400);
        CHECK(count_of(answer, "HTTP/1.1 ") == 1);
        CHECK(has(answer, "Connection: close\r\n"));
        co_await at.end();
        CHECK(at.records().empty());
    }

    CO_TEST_CASE("a body that is cut is no record") {
        served at;
        co_await at.begin();
        const std::string whole = served::post_of(R"({"a":1})");
        for (const std::size_t cut : {std::size_t{1}, std::size_t{7}, std::size_t{20}}) {
            const std::string answer = co_await at.exchange(whole.substr(0, whole.size() - cut));
            CHECK(status_of(answer) == 400);
            CHECK(has(answer, "Connection: close\r\n"));
        }
        co_await at.end();
        CHECK(at.records().empty());
    }

    CO_TEST_CASE("logs have names, and ways to acknowledge") {
        const served paths;
        served at(two_logs(paths));
        co_await at.begin();
        CHECK(status_of(co_await at.post(R"({"a":1})", "/log")) == 200);
        CHECK(status_of(co_await at.post(R"({"a":2})", "/log/billing")) == 200);
        CHECK(status_of(co_await at.post(R"({"a":3})", "/log/app?ack=written")) == 200);
        CHECK(status_of(co_await at.post(R"({"a":4})", "/log/app?ack=accepted")) == 202);
        const std::string mixed = served::post_of(R"({"a":5})", "/log/app") +
                                  served::post_of(R"({"a":6})", "/log/billing") +
                                  served::post_of(R"({"a":7})", "/log/app?ack=accepted");
        const std::string answers = co_await at.exchange(mixed);
        CHECK(count_of(answers, "HTTP/1.1 200 ") == 2);
        CHECK(answers.rfind("HTTP/1.1 202 ") > answers.rfind("HTTP/1.1 200 "));
        co_await at.end();
        CHECK(paths.records() ==
              lines{R"({"a":1})", R"({"a":3})", R"({"a":4})", R"({"a":5})", R"({"a":7})"});
        CHECK(paths.records("billing.log") == lines{R"({"a":2})", R"({"a":6})"});
    }

    CO_TEST_CASE("a log that is never durable refuses to say so") {
        const served paths;
        collector_options options = two_logs(paths);
        options.logs.front().durable = sapwood::durability::none();
        served at(options);
        co_await at.begin();
        CHECK(status_of(co_await at.post("{}")) == 200);
        CHECK(status_of(co_await at.post("{}", "/log?ack=durable")) == 400);
        co_await at.end();
        CHECK(paths.records().size() == 1);
    }

    CO_TEST_CASE("JSON lines and logfmt hold the record where nobody can forge the rest") {
        const served paths;
        collector_options options = two_logs(paths);
        options.logs[0].form = log_form::json;
        options.logs[1].form = log_form::logfmt;
        served at(options);
        co_await at.begin();
        const std::string record = R"({"time":"never","level":"error","msg":"a b"})";
        CHECK(status_of(co_await at.post(record)) == 200);
        CHECK(status_of(co_await at.post(record, "/log/billing")) == 200);
        co_await at.end();
        const std::string json = paths.lines().at(0);
        CHECK(json.starts_with("{\"time\":\"20"));
        CHECK(has(json, "Z\",\"level\":\"error\",\"from\":\"http 127.0.0.1:"));
        CHECK(json.ends_with("\",\"record\":" + record + "}"));
        const std::string logfmt = sapwood::test::contents_of(paths.directory / "billing.log");
        CHECK(logfmt.starts_with("time=20"));
        CHECK(has(logfmt, "Z level=error from=\"http 127.0.0.1:"));
        CHECK(logfmt.ends_with("\" fields.time=never fields.level=error msg=\"a b\"\n"));
    }

    CO_TEST_CASE("hostile strings forge no line") {
        served at;
        co_await at.begin();
        std::size_t sent = 0;
        for (const std::string& hostile : sapwood::test::hostile_strings()) {
            std::string json = "{";
            sapwood::collector::append_json_member("a", hostile, json);
            json += "}";
            CHECK(status_of(co_await at.post(json)) == 200);
            ++sent;
        }
        co_await at.end();
        CHECK(at.records().size() == sent);
        for (const std::string& line : at.lines()) {
            CHECK(line.starts_with("[http 127.0.0.1:"));
        }
    }

    CO_TEST_CASE("who says nothing is let go, and who does not go on is told") {
        served at;
        co_await at.begin();
        auto silent = co_await tcp_stream::connect(at.it->endpoints().front());
        CHECK(co_await sapwood::test::read_to_end(silent) == "");

        auto slow = co_await tcp_stream::connect(at.it->endpoints().front());
        co_await slow.write_all("POST /log HTTP/1.1\r\nHo"sv);
        const std::string head = co_await sapwood::test::read_to_end(slow);
        CHECK(status_of(head) == 408);
        CHECK(has(head, "Connection: close\r\n"));

        auto stuck = co_await tcp_stream::connect(at.it->endpoints().front());
        co_await stuck.write_all(
            "POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"sv);
        CHECK(status_of(co_await sapwood::test::read_to_end(stuck)) == 408);
        co_await at.end();
        CHECK(at.records().empty());
    }

    CO_TEST_CASE("told to end, it acknowledges what it has taken, and lets nobody in") {
        served at;
        co_await at.begin();
        auto idle = co_await tcp_stream::connect(at.it->endpoints().front());
        co_await idle.write_all(std::string_view(served::post_of(R"({"a":1})")));
        CHECK(status_of(co_await read_answers(idle, 1)) == 200);
        auto begun = co_await tcp_stream::connect(at.it->endpoints().front());
        co_await begun.write_all(
            "POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"sv);
        co_await sapwood::sleep_for(10ms);
        auto ending = sapwood::spawn(at.end());
        CHECK(co_await sapwood::test::read_to_end(idle) == "");
        co_await begun.write_all("{}"sv);
        const std::string answer = co_await sapwood::test::read_to_end(begun);
        CHECK(status_of(answer) == 503);
        CHECK(has(answer, "Retry-After: 1\r\n"));
        co_await ending;
        CHECK(at.it->cut_off() == 0);
        CHECK(at.records() == lines{R"({"a":1})"});
    }

    CO_TEST_CASE("told to end, it is not reset under who sends one request behind the other") {
        served at;
        co_await at.begin();
        auto client = co_await tcp_stream::connect(at.it->endpoints().front());
        const std::string request = served::post_of("{}");
        co_await client.write_all(std::string_view(request).substr(0, request.size() - 1));
        co_await sapwood::sleep_for(10ms);
        auto ending = sapwood::spawn(at.end());
        while (!at.it->shared().is_draining) {
            co_await sapwood::yield();
        }
        std::string behind = "}";
        while (behind.size() < 900'000) { // of which it reads a part before it answers
            behind += request;
        }
        std::string said;
        std::error_code how;
        try {
            co_await client.write_all(std::string_view(behind));
            said = co_await sapwood::test::read_to_end(client);
        } catch (const std::system_error& failure) {
            how = failure.code();
        }
        CHECK(how == std::error_code());
        CHECK(status_of(said) == 503);
        CHECK(count_of(said, "HTTP/1.1 ") == 1);
        CHECK(has(said, "Connection: close\r\n"));
        co_await client.close();
        co_await ending;
        CHECK(at.it->cut_off() == 0);
    }

    CO_TEST_CASE("who has begun and does not go on is cut off when the time to drain is over") {
        served at;
        co_await at.begin();
        auto begun = co_await tcp_stream::connect(at.it->endpoints().front());
        co_await begun.write_all(
            "POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"sv);
        co_await sapwood::sleep_for(10ms);
        co_await at.end();
        CHECK(at.it->cut_off() == 1);
        CHECK(co_await sapwood::test::read_to_end(begun) == "");
    }

    CO_TEST_CASE("who asks by a wrong name or with a wrong body is told what would be right") {
        served at;
        co_await at.begin();
        const std::string name =
            co_await at.exchange("GET /healthz HTTP/1.1\r\nHost: logs.example\r\n\r\n");
        CHECK(status_of(name) == 421);
        CHECK(has(name, "gives it names by --host"));
        const std::string kind = co_await at.post("x", "/log", "Content-Type: image/png\r\n");
        CHECK(status_of(kind) == 415);
        CHECK(has(kind, "text/plain that is JSON"));
        const std::string plain = "Content-Type: text/plain\r\n";
        const std::string text = co_await at.post("a line", "/log", plain);
        CHECK(status_of(text) == 400);
        CHECK(has(text, "plain lines are for --unix and --tcp-lines"));
        CHECK(status_of(co_await at.post("{\"a\":1}", "/log", plain)) == 200);
        CHECK(!has(co_await at.post("a line"), "plain lines"));
        co_await at.end();
        CHECK(at.records() == lines{R"({"a":1})"});
    }

    CO_TEST_CASE("no page of a browser can write, whatever its name has come to mean") {
        served at;
        co_await at.begin();
        const auto with = [](std::string fields) {
            return "POST /log HTTP/1.1\r\nContent-Length: 2\r\n" + fields + "\r\n{}";
        };
        CHECK(status_of(co_await at.exchange(with("Host: evil.example\r\n"))) == 421);
        CHECK(status_of(co_await at.exchange(with("Host: 127.0.0.1.evil.example:80\r\n"))) == 421);
        CHECK(status_of(co_await at.exchange(
                  with("Host: localhost\r\nOrigin: http://evil.example\r\n"))) == 403);
        CHECK(status_of(co_await at.exchange(with("Host: localhost\r\nOrigin: null\r\n"))) == 403);
        CHECK(status_of(co_await at.exchange(with("Host: localhost:8514\r\n"))) == 200);
        CHECK(status_of(co_await at.exchange(with("Host: 127.0.0.1:8514\r\n"))) == 200);
        CHECK(status_of(co_await at.exchange(with("Host: [::1]:8514\r\n"))) == 200);
        co_await at.end();
        CHECK(at.records().size() == 3);
    }

    CO_TEST_CASE("a page cannot write by an image's address either") {
        served at;
        co_await at.begin();
        const auto get = [](std::string fields, std::string target = "/log?level=critical&msg=x") {
            return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n";
        };
        for (const char* const site : {"cross-site", "same-site", "", "None"}) {
            const std::string field = "sec-fetch-Site: "s + site + "\r\n";
            CHECK(status_of(co_await at.exchange(get(field))) == 403);
            CHECK(status_of(co_await at.post("{}", "/log", field)) == 403);
            // reads nothing that a page could see
            CHECK(status_of(co_await at.exchange(get(field, "/healthz"))) == 200);
        }
        CHECK(status_of(co_await at.exchange(
                  get("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Site: none\r\n"))) == 403);
        CHECK(status_of(co_await at.exchange(get("Sec-Fetch-Site: none\r\n"))) == 200);
        CHECK(status_of(co_await at.exchange(get("Sec-Fetch-Site: same-origin\r\n") + get(""))) ==
              200);
        co_await at.end();
        CHECK(at.records().size() == 3);
    }

    CO_TEST_CASE("a token is for its logs, at its rate, and without one nothing is written") {
        const served paths;
        collector_options options = two_logs(paths);
        options.tokens.resize(3);
        for (std::size_t i = 0; i < 3; ++i) {
            options.tokens[i].name = "abc"[i];
            options.tokens[i].secret = std::string("secret-of-") + "abc"[i] + "-1234";
        }
        options.tokens[1].logs = {"billing"};
        options.tokens[2].records_per_second = 2;
        served at(options);
        co_await at.begin();
        const auto with = [](std::string secret) {
            return "Authorization: Bearer " + secret + "\r\n";
        };
        const std::string refused = co_await at.post("{}");
        CHECK(status_of(refused) == 401);
        CHECK(has(refused, "WWW-Authenticate: Bearer\r\n"));
        CHECK(has(refused, "a token is needed"));
        CHECK(has(co_await at.post("{}", "/log", with("secret-of-nobody")),
                  "this token is none that is known here"));
        for (const char* const wrong :
             {"", "s", "secret-of-a-123", "secret-of-a-12345", "secret-of-a-1235"}) {
            CHECK(status_of(co_await at.post("{}", "/log", with(wrong))) == 401);
        }
        CHECK(status_of(co_await at.post("{}", "/log", "Authorization: Basic YTpi\r\n")) == 401);
        CHECK(status_of(co_await at.post("{}", "/log", with("secret-of-a-1234"))) == 200);
        CHECK(status_of(co_await at.post("{}", "/log", with("secret-of-b-1234"))) == 403);
        CHECK(status_of(co_await at.post("{}", "/log/billing", with("secret-of-b-1234"))) == 200);
        const std::string c = with("secret-of-c-1234");
        CHECK(status_of(co_await at.post("[{},{}]", "/log", c)) == 200);
        const std::string too_many = co_await at.post("{}", "/log", c);
        CHECK(status_of(too_many) == 429);
        CHECK(has(too_many, "Retry-After: 1\r\n"));
        co_await sapwood::sleep_for(500ms);
        CHECK(status_of(co_await at.post("{}", "/log", c)) == 200);
        CHECK(status_of(co_await at.exchange("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")) == 200);
        CHECK(status_of(co_await at.exchange("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")) == 401);
        co_await at.end();
        CHECK(paths.records().size() == 4);
        CHECK(paths.records("billing.log").size() == 1);
    }

    CO_TEST_CASE("what a head means is looked up anew when tokens have changed") {
        const served paths;
        collector_options options = two_logs(paths);
        served at(options);
        co_await at.begin();
        auto client = co_await tcp_stream::connect(at.it->endpoints().front());
        const std::string request = served::post_of("{}");
        for (int i = 0; i < 3; ++i) {
            co_await client.write_all(std::string_view(request));
            CHECK(status_of(co_await read_answers(client, 1)) == 200);
        }
        options.tokens.resize(1);
        options.tokens.front().name = "a";
        options.tokens.front().secret = "secret-of-a-1234";
        at.it->reload(options);
        co_await client.write_all(std::string_view(request));
        CHECK(status_of(co_await read_answers(client, 1)) == 401);
        co_await client.close();
        co_await at.end();
        CHECK(paths.records().size() == 3);
    }

    CO_TEST_CASE("other machines are not let in without tokens") {
        for (const auto kind :
             {sapwood::collector::source_kind::http, sapwood::collector::source_kind::syslog,
              sapwood::collector::source_kind::syslog_datagrams}) {
            collector_options options;
            auto& listener = options.listeners.emplace_back();
            listener.at = sapwood::endpoint("0.0.0.0", 0);
            listener.kind = kind;
            served at(options);
            std::string said;
            try {
                co_await at.begin();
            } catch (const std::invalid_argument& refused) {
                said = refused.what();
            }
            CHECK(has(said, "--from-anybody"));
            options.takes_from_anybody = true;
            served open(options);
            co_await open.begin();
            co_await open.end();
        }
    }

    CO_TEST_CASE("while the disk refuses records it is said, and when it takes them all is well") {
        served at;
        co_await at.begin();
        CHECK(status_of(co_await at.post(R"({"a":1})")) == 200);
        rlimit before{};
        REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
        const rlimit full{.rlim_cur = std::filesystem::file_size(at.directory / "app.log"),
                          .rlim_max = before.rlim_max};
        REQUIRE(::setrlimit(RLIMIT_FSIZE, &full) == 0);
        // until their time is over
        const std::string waited = co_await at.post(R"({"a":2})", "/log", "Connection: close\r\n");
        const std::string refused = co_await at.post(R"({"a":3})");
        const std::string ready = co_await at.exchange(get_of("/readyz"));
        REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
        CHECK(status_of(waited) == 503);
        CHECK(has(waited, "it may be in the log or not"));
        CHECK(has(waited, "Connection: close\r\n"));
        CHECK(status_of(refused) == 503);
        CHECK(has(refused, "the log takes no records now: File too large"));
        CHECK(status_of(ready) == 503);
        CHECK(has(ready, "log app: "));
        co_await sapwood::sleep_for(5s); // it tries again by itself
        CHECK(status_of(co_await at.exchange(get_of("/readyz"))) == 200);
        CHECK(status_of(co_await at.post(R"({"a":4})")) == 200);
        co_await at.end();
        CHECK(at.records() == lines{R"({"a":1})", R"({"a":2})", R"({"a":4})"});
    }

    CO_TEST_CASE("bodies that are under way are only so many bytes, and who sends a whole one pays "
                 "nothing") {
        collector_options options;
        options.limits.held_bytes_max = 8192;
        served at(options);
        co_await at.begin();
        const auto& held = at.it->shared().counts.held_bytes;
        const std::string request = served::post_of("{\"a\":\"" + std::string(6000, 'x') + "\"}");
        const auto but_ten = std::string_view(request).substr(0, request.size() - 10);
        const auto ten = std::string_view(request).substr(request.size() - 10);

        auto first = co_await tcp_stream::connect(at.it->endpoints().front());
        co_await first.write_all(but_ten);
        co_await sapwood::sleep_for(10ms);
        CHECK(held >= 5990); // from its first byte on
        CHECK(held <= 8192);
        auto second = co_await tcp_stream::connect(at.it->endpoints().front());
        co_await second.write_all(but_ten);
        co_await sapwood::sleep_for(10ms);
        CHECK(held <= 8192);
        CHECK(status_of(co_await at.post("{}")) == 200); // needs none

        co_await second.write_all(ten);
        const std::string refused = co_await read_answers(second, 1);
        CHECK(status_of(refused) == 503);
        CHECK(has(refused, "too many requests are under way"));
        CHECK(has(refused, "Retry-After: 1\r\n"));

        // Who is refused for another reason is told that one, and keeps nothing of a long head.
        auto third = co_await tcp_stream::connect(at.it->endpoints().front());
        const std::string long_head =
            "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nAuthorization: " +
            std::string(6000, 'x') + "\r\nContent-Length: 10\r\n\r\n";
        co_await third.write_all(long_head);
        co_await sapwood::sleep_for(10ms);
        CHECK(held <= 8192);
        co_await third.write_all("0123456789"sv);
        CHECK(status_of(co_await read_answers(third, 1)) == 404);
        co_await first.write_all(ten);
        CHECK(status_of(co_await read_answers(first, 1)) == 200);
        CHECK(held == 0); // while they idle
        co_await second.write_all(std::string_view(request));
        CHECK(status_of(co_await read_answers(second, 1)) == 200);
        CHECK(held == 0);
        co_await at.end();
        CHECK(at.records().size() == 3);
    }

    CO_TEST_CASE("heads that do not end are bounded, too") {
        collector_options options;
        options.limits.held_bytes_max = 8192;
        served at(options);
        co_await at.begin();
        const std::string head =
            "POST /log HTTP/1.1\r\nHost: localhost\r\nA: " + std::string(5000, 'a');
        auto first = co_await tcp_stream::connect(at.it->endpoints().front());
        co_await first.write_all(std::string_view(head));
        co_await sapwood::sleep_for(10ms);
        CHECK(at.it->shared().counts.held_bytes >= 5000);
        auto second = co_await tcp_stream::connect(at.it->endpoints().front());
        co_await second.write_all(std::string_view(head));
        co_await sapwood::sleep_for(10ms);
        const std::string refused = co_await read_answers(second, 1);
        CHECK(status_of(refused) == 503);
        CHECK(has(refused, "Connection: close\r\n"));
        CHECK(at.it->shared().counts.held_bytes <= 8192);
        co_await at.end();
    }

    CO_TEST_CASE("a body of very many empty objects is refused, and holds nothing") {
        collector_options options;
        options.limits.json.records_max = 1000;
        served at(options);
        co_await at.begin();
        std::string body = "[{}";
        for (int i = 1; i < 1000; ++i) {
            body += ",{}";
        }
        CHECK(status_of(co_await at.post(body + "]")) == 200);
        const std::string refused = co_await at.post(body + ",{}]");
        CHECK(status_of(refused) == 413);
        CHECK(has(refused, "record 1001: there are more than 1000"));
        co_await at.end();
        CHECK(at.records().size() == 1000);
    }

    CO_TEST_CASE("a client that asks and does not read is cut off, and is sent nothing twice") {
        collector_options options;
        options.limits.answer = 5s;
        served at(options);
        co_await at.begin();
        auto client = co_await tcp_stream::connect(at.it->endpoints().front());
        std::string requests;
        for (int i = 0; i < 200; ++i) {
            requests += get_of("/metrics");
        }
        auto sending = sapwood::spawn([](tcp_stream& to, std::string_view what) -> task<> {
            for (;;) { // until it is cut off
                co_await to.write_all(what);
            }
        }(client, requests));
        const auto& counts = at.it->shared().counts;
        co_await sapwood::sleep_for(8s); // time to say it once, not twice
        CHECK(counts.connections_opened == 1);
        CHECK(counts.connections_closed == 1);
        std::error_code how;
        try {
            co_await sending;
        } catch (const std::system_error& failure) {
            how = failure.code();
        }
        CHECK(how); // it was reset
        CHECK(status_of(co_await at.post("{}")) == 200);
        co_await at.end();
        CHECK(at.it->cut_off() == 0);
    }

    CO_TEST_CASE("an answer takes its form from its own request") {
        const served paths;
        served at(two_logs(paths));
        co_await at.begin();
        const std::string head = "HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        const std::string behind = co_await at.exchange(served::post_of(R"({"a":1})") + head +
                                                        served::post_of(R"({"a":2})") + head);
        CHECK(count_of(behind, success) == 2);
        CHECK(count_of(behind, "alive") == 0);
        CHECK(count_of(behind, "HTTP/1.1 200 OK\r\n") == 4);

        const std::string closing =
            co_await at.exchange(served::post_of(R"({"a":3})", "/log/billing") +
                                 served::post_of(R"({"a":4})", "/log", "Connection: close\r\n") +
                                 served::post_of(R"({"never":1})"));
        CHECK(count_of(closing, "HTTP/1.1 200 OK\r\n") == 2);
        CHECK(count_of(closing, "Connection: close\r\n") == 1);
        CHECK(closing.find("Connection: close\r\n") > closing.find(success));

        const std::string old = co_await at.exchange(
            "POST /log HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}" +
            served::post_of("{}"));
        CHECK(count_of(old, "Connection: keep-alive\r\n") == 1);
        CHECK(old.find("Connection: keep-alive\r\n") < old.find(success));
        co_await at.end();
        CHECK(paths.records() == lines{R"({"a":1})", R"({"a":2})", R"({"a":4})", "{}", "{}"});
    }

    CO_TEST_CASE(
        "requests for several logs and levels that come together each wait for their own") {
        const served paths;
        served at(two_logs(paths));
        co_await at.begin();
        std::string requests;
        for (int i = 0; i < 30; ++i) {
            const char* const targets[] = {"/log", "/log/billing?ack=written", "/log?ack=accepted"};
            requests += served::post_of("{\"n\":" + std::to_string(i) + "}", targets[i % 3]);
        }
        const std::string answers = co_await at.exchange(requests);
        CHECK(count_of(answers, "HTTP/1.1 200 OK\r\n") == 20);
        CHECK(count_of(answers, "HTTP/1.1 202 Accepted\r\n") == 10);
        co_await at.end();
        CHECK(paths.records().size() == 20);
        CHECK(paths.records("billing.log").size() == 10);
    }

    CO_TEST_CASE("an empty array waits for nobody's record") {
        const served paths;
        served at(two_logs(paths));
        co_await at.begin();
        auto client = co_await tcp_stream::connect(at.it->endpoints().front());
        co_await client.write_all(std::string_view(served::post_of("[{},{},{}]", "/log/billing")));
        CHECK(status_of(co_await read_answers(client, 1)) == 200);
        const auto before = sapwood::event_loop::current().now();
        co_await client.write_all(std::string_view(served::post_of("[]", "/log")));
        CHECK(status_of(co_await read_answers(client, 1)) == 200);
        CHECK(sapwood::event_loop::current().now() - before < 1s);
        co_await client.close();
        co_await at.end();
        CHECK(paths.records().empty());
    }

    CO_TEST_CASE("records for which there is no room wait for it, in order") {
        collector_options options;
        const served paths;
        named_log_options& log = options.logs.emplace_back();
        log.name = "app";
        log.path = paths.directory / "app.log";
        log.queue_records = 1;
        served at(options);
        co_await at.begin();
        std::string body = "[";
        lines expected;
        for (int i = 0; i < 50; ++i) {
            expected.push_back("{\"n\":" + std::to_string(i) + "}");
            body += expected.back() + (i < 49 ? "," : "]");
        }
        const std::string answers =
            co_await at.exchange(served::post_of(body) + served::post_of("{}"));
        CHECK(count_of(answers, success) == 2);
        CHECK(at.it->shared().counts.held_bytes == 0);
        expected.emplace_back("{}");
        co_await at.end();
        CHECK(paths.records() == expected);
    }

    CO_TEST_CASE(
        "what is refused behind records that wait for room is not taken for their answer") {
        const served paths;
        collector_options options = two_logs(paths);
        options.logs.front().queue_records = 1;
        options.logs.front().batch_bytes = 100;
        options.limits.held_bytes_max = 1;
        served at(options);
        co_await at.begin();
        const std::string answers =
            co_await at.exchange(served::post_of("[{},{},{},{},{},{},{},{}]") + get_of("/healthz"));
        CHECK(status_of(answers) == 200);
        CHECK(has(answers, success));
        CHECK(count_of(answers, "HTTP/1.1 503 ") == 1);
        CHECK(answers.find("HTTP/1.1 503 ") > answers.find(success));
        co_await at.end();
        CHECK(paths.records().size() == 8);
    }

    CO_TEST_CASE(
        "records that wait for room are bounded by the log, and no slow body counts there") {
        const served paths;
        collector_options options = two_logs(paths);
        for (named_log_options& log : options.logs) {
            log.queue_records = 1;
            log.batch_bytes = 4096;
            log.queue_bytes = 1u << 20;
            log.durable = sapwood::durability::none();
        }
        options.limits.held_bytes_max = 1000; // of bodies
        served at(options);
        co_await at.begin();
        const auto& app = at.it->shared().logs.front();
        std::string body;
        std::size_t records = 0;
        for (; body.size() < 15'000; ++records) {
            body += "{}";
        }
        auto first = co_await tcp_stream::connect(at.it->endpoints().front());
        co_await first.write_all(std::string_view(served::post_of(body)));
        while (!app.is_over_blocked()) {
            REQUIRE(at.it->shared().counts.records < records);
            co_await sapwood::yield();
        }
        CHECK(at.it->shared().counts.held_bytes == 0);
        const std::string refused = co_await at.post("{}");
        const std::string other = co_await at.post("{}", "/log/billing");
        CHECK(status_of(refused) == 503);
        CHECK(has(refused, "too many records wait for room in the log"));
        CHECK(status_of(other) == 200);
        CHECK(status_of(co_await read_answers(first, 1)) == 200);
        CHECK(app.blocked_bytes() == 0);
        CHECK(status_of(co_await at.post("{}")) == 200);
        co_await first.close();
        co_await at.end();
        CHECK(paths.records().size() == records + 1);
    }

    CO_TEST_CASE("answers that nobody takes are bounded, all together") {
        served at;
        co_await at.begin();
        auto& counts = at.it->shared().counts;
        CHECK(status_of(co_await at.post("{}")) == 200);
        CHECK(counts.unsent_bytes == 0);
        const auto others = at.it->shared().limits.unsent_bytes_max + 1;
        counts.unsent_bytes += others; // as if others had them
        const std::string refused =
            co_await at.exchange(served::post_of("{}") + get_of("/metrics") + get_of("/healthz"));
        CHECK(status_of(refused) == 503);
        CHECK(has(refused, "too many answers are not taken yet"));
        CHECK(count_of(refused, "HTTP/1.1 503 ") == 2);
        CHECK(refused.ends_with("alive\n"));
        CHECK(counts.unsent_bytes == others);
        counts.unsent_bytes -= others;
        CHECK(status_of(co_await at.post("{}")) == 200);
        co_await at.end();
        CHECK(at.records().size() == 2);
    }

    CO_TEST_CASE("whose share is used up is told so before his body is looked at") {
        if (!sapwood::collector::can_decompress(sapwood::collector::content_coding::gzip)) {
            co_return;
        }
        collector_options options;
        options.tokens.resize(1);
        options.tokens.front().name = "a";
        options.tokens.front().secret = "secret-of-a-1234";
        options.tokens.front().records_per_second = 2;
        served at(options);
        co_await at.begin();
        const std::string token = "Authorization: Bearer secret-of-a-1234\r\n";
        const std::string gzip = token + "Content-Encoding: gzip\r\n";
        CHECK(status_of(co_await at.post("no gzip", "/log", gzip)) == 400);
        CHECK(status_of(co_await at.post("[{},{}]", "/log", token)) == 200);
        const std::string refused = co_await at.post("no gzip", "/log", gzip);
        CHECK(status_of(refused) == 429);
        CHECK(has(refused, "Retry-After: 1\r\n"));
        CHECK(at.it->shared().gate.over_quota == 1);
        co_await at.end();
    }

    CO_TEST_CASE("a token's bytes are those of its records, where these are more than the body's") {
        collector_options options;
        options.tokens.resize(1);
        options.tokens.front().name = "a";
        options.tokens.front().secret = "secret-of-a-1234";
        options.tokens.front().bytes_per_second = 1;
        options.tokens.front().bytes_at_once = 10'000;
        const std::string token = "Authorization: Bearer secret-of-a-1234\r\n";
        const std::string in_target =
            "GET /log?msg=" + std::string(9'990, 'x') + " HTTP/1.1\r\nHost: localhost\r\n" + token;
        const std::string labels = R"({"streams":[{"stream":{"a":")" + std::string(2'000, 'x') +
                                   R"("},"values":[["1","b"],["2","b"],["3","b"],["4","b"],)"
                                   R"(["5","b"]]}]})";
        for (const std::string& request :
             {in_target + "\r\n", served::post_of(labels, "/loki/api/v1/push", token)}) {
            served at(options);
            co_await at.begin();
            CHECK(status_of(co_await at.exchange(request)) / 100 == 2);
            const std::string refused = co_await at.exchange(request);
            CHECK(status_of(refused) == 429);
            CHECK(status_of(co_await at.post("[" + std::string(10'000, ' ') + "]", "/log",
                                             token)) == 429);
            co_await at.end();
        }
    }

    CO_TEST_CASE("metrics count") {
        served at;
        co_await at.begin();
        CHECK(status_of(co_await at.post("[{},{}]")) == 200);
        CHECK(status_of(co_await at.post("{")) == 400);
        const std::string page =
            co_await at.exchange("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        CHECK(has(page, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
        CHECK(has(page, "\nsapwood_collector_records_total 2\n"));
        CHECK(has(page, "\nsapwood_collector_requests_total 3\n"));
        CHECK(has(page, "\nsapwood_collector_connections 1\n"));
        CHECK(has(page, "\nsapwood_collector_answers_total{status=\"4xx\"} 1\n"));
        CHECK(has(page, "\nsapwood_collector_log_lines_written_total{log=\"app\"} 2\n"));
        CHECK(has(page, "\nsapwood_collector_log_degraded{log=\"app\"} 0\n"));
        CHECK(count_of(page, "# TYPE sapwood_collector_answers_total ") == 1);
        co_await at.end();
    }

    CO_TEST_CASE("health and readiness are told") {
        served at;
        co_await at.begin();
        const std::string health =
            co_await at.exchange("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        CHECK(health.ends_with("\r\n\r\nalive\n"));
        const std::string ready =
            co_await at.exchange("HEAD /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        CHECK(status_of(ready) == 200);
        CHECK(ready.ends_with("Content-Length: 6\r\n\r\n"));
        co_await at.end();
    }

    CO_TEST_CASE("HTTP/1.0 is answered once, unless it asks to go on") {
        served at;
        co_await at.begin();
        const std::string once = co_await at.exchange(
            "POST /log HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}POST /log HTTP/1.0\r\n\r\n");
        CHECK(count_of(once, "HTTP/1.1 200 ") == 1);
        CHECK(has(once, "Connection: close\r\n"));
        const std::string kept = co_await at.exchange(
            "POST /log HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"
            "POST /log HTTP/1.0\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}");
        CHECK(count_of(kept, "HTTP/1.1 200 ") == 2);
        CHECK(count_of(kept, "Connection: keep-alive\r\n") == 1);
        co_await at.end();
        CHECK(at.records().size() == 3);
    }
}
