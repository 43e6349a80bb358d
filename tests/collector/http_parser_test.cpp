// What is a request, what is none, and with which status it is refused; without a socket.
#include <collector/http_parser.hpp>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_literals;
using sapwood::collector::content_coding;
using sapwood::collector::http_limits;
using sapwood::collector::http_method;
using sapwood::collector::http_parser;
using sapwood::collector::media_type;

struct outcome {
    /// Of whole requests.
    std::vector<std::string> bodies;
    /// 0 where nothing failed.
    unsigned status = 0;
};

/// Gives `bytes` to a parser in pieces of `piece` bytes, as a connection does.
outcome parse(std::string_view bytes, std::size_t piece, const http_limits& limits = {}) {
    http_parser parser(limits);
    outcome made;
    std::string pending;
    while (!bytes.empty()) {
        pending += bytes.substr(0, piece);
        bytes.remove_prefix(std::min(piece, bytes.size()));
        std::string_view input = pending;
        for (auto step = parser.next(input); step != http_parser::step::need_more;
             step = parser.next(input)) {
            if (step == http_parser::step::done) {
                made.bodies.emplace_back(parser.body());
            } else if (step == http_parser::step::failed) {
                made.status = parser.status();
                return made;
            }
        }
        if (parser.is_in_request()) {
            parser.keep_body();
        }
        pending = std::string(input);
    }
    return made;
}

/// The status, and that it is the same however the bytes are cut.
unsigned status_of(const std::string& bytes, const http_limits& limits = {}) {
    const outcome whole = parse(bytes, bytes.size(), limits);
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{64}}) {
        CAPTURE(piece);
        const outcome pieces = parse(bytes, piece, limits);
        CHECK(pieces.status == whole.status);
        CHECK(pieces.bodies.size() == whole.bodies.size());
    }
    return whole.status;
}

std::string head_of(std::string_view fields, std::string_view line = "POST /log HTTP/1.1") {
    return fmt::format("{}\r\nHost: x\r\n{}\r\n", line, fields);
}

} // namespace

TEST_SUITE("http_parser") {
    TEST_CASE("a request has its method, target, type and body") {
        http_parser parser{http_limits()};
        const std::string bytes = head_of("Content-Type: application/json; charset=utf-8\r\n"
                                          "Content-Length: 2\r\n") +
                                  "{}GET";
        std::string_view input = bytes;
        REQUIRE(parser.next(input) == http_parser::step::head);
        CHECK(parser.is_in_body());
        REQUIRE(parser.next(input) == http_parser::step::done);
        CHECK(parser.head().method == http_method::post);
        CHECK(parser.head().target == "/log");
        CHECK(parser.head().host == "x");
        CHECK(parser.head().type == media_type::json);
        CHECK(parser.head().keeps_alive);
        CHECK(parser.body() == "{}");
        CHECK(input == "GET");
        CHECK_FALSE(parser.is_in_request());
    }

    TEST_CASE("nothing of a request is the next one's") {
        http_parser parser{http_limits()};
        const std::string bytes = head_of("Content-Type: application/json\r\nAuthorization: a\r\n"
                                          "Content-Encoding: gzip\r\nExpect: 100-continue\r\n"
                                          "Origin: http://x\r\nContent-Length: 2\r\n") +
                                  "{}" + head_of("", "GET /other HTTP/1.1");
        std::string_view input = bytes;
        REQUIRE(parser.next(input) == http_parser::step::head);
        CHECK(parser.head().expects_continue);
        CHECK(parser.head().coding == content_coding::gzip);
        REQUIRE(parser.next(input) == http_parser::step::done);
        REQUIRE(parser.next(input) == http_parser::step::done);
        CHECK(parser.head().method == http_method::get);
        CHECK(parser.head().type == media_type::none);
        CHECK(parser.head().coding == content_coding::identity);
        CHECK(parser.head().authorization.empty());
        CHECK(parser.head().origin.empty());
        CHECK_FALSE(parser.head().expects_continue);
        CHECK_FALSE(parser.head().has_body);
        CHECK(parser.body().empty());
    }

    TEST_CASE("however the bytes are cut, the requests are the same") {
        const std::string bytes =
            head_of("Content-Length: 5\r\n") + "first" + head_of("Transfer-Encoding: chunked\r\n") +
            "3;x=y\r\nsec\r\n3\r\nond\r\n0\r\nTrailer: t\r\n\r\n" +
            head_of("", "GET /log?a=b HTTP/1.1") + "\r\n" + head_of("Content-Length: 0\r\n");
        for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
            CAPTURE(piece);
            const outcome made = parse(bytes, piece);
            REQUIRE(made.status == 0);
            CHECK(made.bodies == std::vector{"first"s, "second"s, ""s, ""s});
        }
    }

    TEST_CASE("what may be read in two ways is refused, and nothing behind it is a request") {
        const std::string smuggled = "POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
        for (const std::string& fields : {
                 "Content-Length: 4\r\nContent-Length: 5\r\n"s,
                 "Content-Length: 4\r\nContent-Length: 4\r\n"s,
                 "Content-Length: 4, 4\r\n"s,
                 "Content-Length: 4,5\r\n"s,
                 "Content-Length: +4\r\n"s,
                 "Content-Length: -4\r\n"s,
                 "Content-Length: 0x4\r\n"s,
                 "Content-Length: 4 4\r\n"s,
                 "Content-Length:\r\n"s,
                 "Content-Length: 99999999999999999999\r\n"s,
                 "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"s,
                 "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"s,
                 "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"s,
                 "Content-Length : 4\r\n"s,
                 "Content-Length: 4\n"s,
                 "A: b\nContent-Length: 4\r\n"s,
                 "A: b\rContent-Length: 4\r\n"s,
                 "A: b\r\n folded\r\n"s,
                 "A: \r\n\tfolded\r\n"s,
                 "Transfer-Encoding:\r\n chunked\r\n"s,
                 " A: b\r\n"s,
                 "A\0B: c\r\n"s,
                 "A: b\0c\r\n"s,
                 "A(: b\r\n"s,
                 ": b\r\n"s,
                 "A\r\n"s,
                 "Host: y\r\n"s,
             }) {
            CAPTURE(fields);
            const std::string bytes = head_of(fields) + "0\r\n\r\n" + smuggled;
            CHECK(status_of(bytes) == 400);
            CHECK(parse(bytes, bytes.size()).bodies.empty());
        }
    }

    TEST_CASE("a transfer encoding that is not known is 501") {
        for (const std::string& fields :
             {"Transfer-Encoding: gzip\r\n"s, "Transfer-Encoding: gzip, chunked\r\n"s,
              "Transfer-Encoding: chunked, gzip\r\n"s, "Transfer-Encoding: xchunked\r\n"s,
              "Transfer-Encoding: identity\r\n"s}) {
            CAPTURE(fields);
            CHECK(status_of(head_of(fields) + "0\r\n\r\n") == 501);
        }
    }

    TEST_CASE("a request line that is none is refused") {
        CHECK(status_of("POST /log HTTP/1.1\nHost: x\n\n") == 400);
        CHECK(status_of("POST /log HTTP/2.0\r\nHost: x\r\n\r\n") == 505);
        CHECK(status_of("POST /log HTTP/0.9\r\nHost: x\r\n\r\n") == 505);
        CHECK(status_of("POST /log http/1.1\r\nHost: x\r\n\r\n") == 505);
        CHECK(status_of("POST  /log HTTP/1.1\r\nHost: x\r\n\r\n") == 400);
        CHECK(status_of("POST /log\r\nHost: x\r\n\r\n") == 400);
        CHECK(status_of("POST log HTTP/1.1\r\nHost: x\r\n\r\n") == 400);
        CHECK(status_of("P@ST /log HTTP/1.1\r\nHost: x\r\n\r\n") == 400);
        CHECK(status_of(" POST /log HTTP/1.1\r\nHost: x\r\n\r\n") == 400);
        CHECK(status_of("POST /l\0g HTTP/1.1\r\nHost: x\r\n\r\n"s) == 400);
        CHECK(status_of("POST /log HTTP/1.1\r\n\r\n") == 400);       // no Host
        CHECK(status_of("\x16\x03\x01\x02\x01\x01\xfc\x03") == 400); // TLS
    }

    TEST_CASE("chunks that are none are refused") {
        const std::string head = head_of("Transfer-Encoding: chunked\r\n");
        for (const std::string& chunks :
             {"x\r\n"s, "-1\r\n"s, "1 \r\na\r\n0\r\n\r\n"s, "1\na\r\n0\r\n\r\n"s,
              "1\r\nab\r\n0\r\n\r\n"s, "1\r\na\n0\r\n\r\n"s, "1;\x01=y\r\na\r\n0\r\n\r\n"s,
              "10000000000000000\r\n"s, "0\r\nContent-Length: 3\r\n\r\n"s,
              "0\r\nTransfer-Encoding: chunked\r\n\r\n"s}) {
            CAPTURE(chunks);
            CHECK(status_of(head + chunks + "0\r\n\r\n") == 400);
        }
    }

    TEST_CASE("a control character in a chunk's extension is refused, also where it is quoted") {
        const auto status = [](const std::string& extension, bool is_last) {
            const std::string head = head_of("Transfer-Encoding: chunked\r\n");
            return status_of(head + (is_last ? "0" : "1") + extension + "\r\n" +
                             (is_last ? "\r\n" : "a\r\n0\r\n\r\n"));
        };
        for (const bool is_last : {false, true}) {
            for (const std::string& extension :
                 {";x=\"\n\""s, ";x=\"a\nb\""s, ";x=\"\\\n\""s, ";x=\"a\0b\""s, ";x=\"\x01\""s,
                  ";x=\"\x7f\""s, ";x=y;z=\"\x1f\""s}) {
                CAPTURE(extension);
                CHECK(status(extension, is_last) == 400);
            }
            CHECK(status(";x=\"a\tb \xc3\xa4\";y", is_last) == 0);
        }
        CHECK(status_of(head_of("Transfer-Encoding: chunked\r\n") + "0\r\nA: b\nC: d\r\n\r\n") ==
              400);
    }

    TEST_CASE("HTTP/1.0 needs no Host, and has one request a connection unless it says otherwise") {
        http_parser parser{http_limits()};
        std::string_view input =
            "GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
        REQUIRE(parser.next(input) == http_parser::step::done);
        CHECK_FALSE(parser.head().keeps_alive);
        REQUIRE(parser.next(input) == http_parser::step::done);
        CHECK(parser.head().keeps_alive);
        CHECK(status_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n") == 400);
    }

    TEST_CASE("a head is only so long, in whatever pieces it comes") {
        const http_limits limits{.head_bytes_max = 1024, .fields_max = 20, .body_bytes_max = 100};
        CHECK(status_of(head_of("A: " + std::string(900, 'x') + "\r\n"), limits) == 0);
        CHECK(status_of(head_of("A: " + std::string(1100, 'x') + "\r\n"), limits) == 431);
        CHECK(status_of("GET /" + std::string(1100, 'x'), limits) == 431);
        std::string many;
        for (int i = 0; i < 19; ++i) {
            many += "A: b\r\n";
        }
        CHECK(status_of(head_of(many), limits) == 0);
        CHECK(status_of(head_of(many + "A: b\r\n"), limits) == 431);
        std::string long_together;
        for (int i = 0; i < 15; ++i) {
            long_together += "A: " + std::string(100, 'x') + "\r\n";
        }
        CHECK(status_of(head_of(long_together), limits) == 431);
    }

    TEST_CASE("a body is only so long, and is refused before it comes where its length is told") {
        const http_limits limits{.head_bytes_max = 1024, .fields_max = 20, .body_bytes_max = 100};
        CHECK(status_of(head_of("Content-Length: 100\r\n") + std::string(100, 'x'), limits) == 0);
        CHECK(status_of(head_of("Content-Length: 101\r\n"), limits) == 413);
        const std::string chunked = head_of("Transfer-Encoding: chunked\r\n");
        CHECK(status_of(chunked + "64\r\n" + std::string(100, 'x') + "\r\n1\r\n", limits) == 413);
        CHECK(status_of(chunked + "FFFFFFFFFFFFFFF0\r\n", limits) == 413);
    }

    TEST_CASE("a flood of chunk extensions ends") {
        const http_limits limits{.head_bytes_max = 1024, .fields_max = 20, .body_bytes_max = 1000};
        std::string bytes = head_of("Transfer-Encoding: chunked\r\n");
        for (int i = 0; i < 100; ++i) {
            bytes += "1;" + std::string(100, 'x') + "\r\na\r\n";
        }
        CHECK(status_of(bytes, limits) == 413);
        CHECK(status_of(head_of("Transfer-Encoding: chunked\r\n") + "1;" + std::string(2000, 'x'),
                        limits) == 413);
        std::string trailers = head_of("Transfer-Encoding: chunked\r\n") + "0\r\n";
        for (int i = 0; i < 1000; ++i) {
            trailers += "A: b\r\n";
        }
        CHECK(status_of(trailers, limits) == 413);
    }

    TEST_CASE("one empty line before a request is ignored, and no more, wherever pieces end") {
        const std::string request = head_of("Content-Length: 2\r\n") + "{}";
        CHECK(status_of("\r\n" + request) == 0);
        CHECK(status_of("\r\n" + request + "\r\n" + request) == 0);
        CHECK(status_of("\r\n\r\n" + request) == 400);
        CHECK(status_of(request + "\r\n\r\n" + request) == 400);
    }

    TEST_CASE("an absolute target means its path") {
        http_parser parser{http_limits()};
        std::string_view input = "GET http://x:80/log?a=b HTTP/1.1\r\nHost: x\r\n\r\n";
        REQUIRE(parser.next(input) == http_parser::step::done);
        CHECK(parser.head().target == "/log?a=b");
    }

    TEST_CASE("a body that is not wanted is not kept") {
        http_parser parser{http_limits()};
        const std::string bytes = head_of("Content-Length: 5\r\n") + "first";
        std::string_view input = bytes;
        REQUIRE(parser.next(input) == http_parser::step::head);
        parser.drop_body();
        REQUIRE(parser.next(input) == http_parser::step::done);
        CHECK(parser.body().empty());
    }

    TEST_CASE("a head that comes again is not parsed again, and means the same with its own body") {
        http_parser parser{http_limits()};
        const std::string head = head_of("Content-Length: 3\r\nContent-Type: text/json\r\n");
        const std::string bytes = head + "abc" + head + "def" + head + "gh";
        std::string_view input = bytes;
        REQUIRE(parser.next(input) == http_parser::step::head);
        REQUIRE(parser.next(input) == http_parser::step::done);
        CHECK_FALSE(parser.is_repeated());
        CHECK(parser.body() == "abc");
        REQUIRE(parser.next(input) == http_parser::step::done);
        CHECK(parser.is_repeated());
        CHECK(parser.body() == "def");
        CHECK(parser.head().type == media_type::json);
        CHECK(parser.head().keeps_alive);
        CHECK_FALSE(parser.is_in_request());
        // What is not whole is parsed: its body has to be kept.
        REQUIRE(parser.next(input) == http_parser::step::head);
        REQUIRE(parser.next(input) == http_parser::step::need_more);
        CHECK(parser.is_in_body());
        CHECK_FALSE(parser.is_repeated());
    }

    TEST_CASE("a head that differs from the one before in a byte is another one") {
        const std::string head = head_of("Content-Length: 3\r\n");
        const std::string other = head_of("Content-Length: 4\r\n");
        const std::string longer = head_of("Content-Length: 3\r\nA: b\r\n");
        const std::string wrong = head_of("Content-Length: 3\nA: b\r\n");
        const std::string bytes =
            head + "abc" + other + "abcd" + head + "efg" + longer + "hij" + head + "klm";
        for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
            CAPTURE(piece);
            const outcome made = parse(bytes, piece);
            CHECK(made.status == 0);
            CHECK(made.bodies == std::vector<std::string>{"abc", "abcd", "efg", "hij", "klm"});
        }
        CHECK(status_of(head + "abc" + wrong + "abc") == 400);
    }

    TEST_CASE("chunked requests and expectations are parsed each time") {
        for (const char* const field :
             {"Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\nExpect: 100-continue\r\n"}) {
            const std::string one = head_of(field) + "0\r\n\r\n";
            const std::string bytes = one + one;
            http_parser parser{http_limits()};
            std::string_view input = bytes;
            for (int i = 0; i < 2; ++i) {
                REQUIRE(parser.next(input) == http_parser::step::head);
                REQUIRE(parser.next(input) == http_parser::step::done);
                CHECK_FALSE(parser.is_repeated());
            }
        }
    }

    TEST_CASE("a long body takes no more memory than it has, as it comes") {
        http_parser parser{http_limits()};
        const std::string head = head_of("Content-Length: 1000000\r\n");
        std::string_view input = head;
        REQUIRE(parser.next(input) == http_parser::step::head);
        parser.keep_body();
        CHECK(parser.held_bytes() < 100); // promises take none
        const std::string piece(10'000, 'x');
        for (int i = 1; i < 100; ++i) {
            input = piece;
            REQUIRE(parser.next(input) == http_parser::step::need_more);
            parser.keep_body();
            CHECK(parser.held_bytes() >= static_cast<std::size_t>(i) * piece.size());
            CHECK(parser.held_bytes() <= static_cast<std::size_t>(i) * piece.size() * 3 / 2 + 100);
        }
        CHECK(parser.held_bytes() <= 1'000'000);
        parser.drop_body();
        CHECK(parser.held_bytes() == 0);
        input = piece;
        REQUIRE(parser.next(input) == http_parser::step::done);
        CHECK(parser.body().empty());
    }

    TEST_CASE("what is long in a head counts while it is there, and is given back") {
        const std::string text(15'000, 'x');
        http_parser parser{http_limits()};
        for (const std::string& head :
             {"POST /" + text + " HTTP/1.1\r\nHost: a\r\n",
              "POST / HTTP/1.1\r\nHost: " + text + "\r\n",
              "POST / HTTP/1.1\r\nHost: a\r\nOrigin: " + text + "\r\n",
              "POST / HTTP/1.1\r\nHost: a\r\nAuthorization: " + text + "\r\n",
              "POST / HTTP/1.1\r\nHost: a\r\ntraceparent: " + text + "\r\n"}) {
            const std::string request = head + "Content-Length: 2\r\n\r\n{}";
            std::string_view input = std::string_view(request).substr(0, request.size() - 2);
            REQUIRE(parser.next(input) == http_parser::step::head);
            CHECK(parser.held_bytes() >= text.size());
            CHECK(parser.held_bytes() < 2 * text.size()); // and nothing of those before
            input = "{}";
            REQUIRE(parser.next(input) == http_parser::step::done);
            CHECK(parser.held_bytes() == 0);
            parser.trim();
        }
    }

    TEST_CASE("a short head behind a long one is known still when memory is given back") {
        http_parser parser{http_limits()};
        const std::string longer = "POST /" + std::string(15'000, 'x') +
                                   " HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
        const std::string shorter = "POST /log HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
        const std::string both = longer + shorter;
        std::string_view input = both;
        REQUIRE(parser.next(input) == http_parser::step::head);
        REQUIRE(parser.next(input) == http_parser::step::done);
        REQUIRE(parser.next(input) == http_parser::step::head);
        REQUIRE(parser.next(input) == http_parser::step::done);
        parser.trim();
        input = shorter;
        REQUIRE(parser.next(input) == http_parser::step::done);
        CHECK(parser.is_repeated());
        CHECK(parser.head().target == "/log");
    }
}
