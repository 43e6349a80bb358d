// What comes from a broker, or from who pretends to be one: frames, methods, headers, tables.
#include <amqp/codec.hpp>
#include <sapwood/amqp/errors.hpp>

#include <doctest/doctest.h>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;
using sapwood::amqp::errc;
using sapwood::amqp::field_value;
using sapwood::amqp::table;
using sapwood::amqp::detail::decoder;
using sapwood::amqp::detail::frame;
using sapwood::amqp::detail::frame_splitter;
using sapwood::amqp::detail::put_publication;

std::string framed(char type, std::string_view payload, char end = '\xce') {
    std::string text{type,
                     0,
                     1,
                     0,
                     0,
                     static_cast<char>(payload.size() >> 8),
                     static_cast<char>(payload.size() & 0xff)};
    return text.append(payload) + end;
}

/// The frames of what comes in pieces of `piece_bytes`, as "type:payload".
std::vector<std::string> split(std::string_view text, std::size_t piece_bytes) {
    frame_splitter splitter(4096);
    std::vector<std::string> found;
    for (; !text.empty(); text.remove_prefix(std::min(piece_bytes, text.size()))) {
        std::string_view piece = text.substr(0, piece_bytes);
        for (frame one; splitter.next(piece, one);) {
            found.push_back(std::to_string(one.type) + ":" + std::string(one.payload));
        }
    }
    return found;
}

template <class Act>
std::string refusal(Act act) {
    try {
        act();
    } catch (const std::system_error& refused) {
        CHECK(refused.code() == errc::protocol_broken);
        return refused.what();
    }
    return "it was taken";
}

bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

/// The payload of a message's header with headers, as `encoded`, and properties around them.
std::string header_with(std::string_view encoded) {
    return "\0\x3c\0\0\0\0\0\0\0\0\0\5\xb0\x80\4text"s.append(encoded) + "\2\5mine!";
}

std::string sized(std::string_view text) {
    std::string size{0, 0, static_cast<char>(text.size() >> 8),
                     static_cast<char>(text.size() & 0xff)};
    return size.append(text);
}

} // namespace

TEST_SUITE("decoder") {
    TEST_CASE("frames are found wherever the pieces end") {
        const std::string text = framed(1, "method") + framed(8, "") + framed(3, "body\xce");
        const std::vector<std::string> all{"1:method", "8:", "3:body\xce"};
        for (std::size_t piece = 1; piece <= text.size(); ++piece) {
            CAPTURE(piece);
            CHECK(split(text, piece) == all);
        }
    }

    TEST_CASE("what cannot be a frame is refused, and said to be what it is") {
        CHECK(has(refusal([] { split("HTTP/1.1 400", 100); }), "is this an AMQP server?"));
        CHECK(has(refusal([] { split("AMQP\0\1\0\0"sv, 1); }), "another version of AMQP"));
        CHECK(has(refusal([] { split(framed(1, "x", 'x'), 100); }), "does not end"));
        CHECK(has(refusal([] { split("\1\0\0\xff\xff\xff\xff"sv, 1); }), "agreed upon"));
        CHECK(has(refusal([] { split("\1\0\0\0\0\x0f\xf9"sv, 100); }), "4097 bytes"));
        CHECK(split("\1\0\0\0\0\x0f\xf8"sv, 100).empty());
    }

    TEST_CASE("methods that are short, unknown or a client's are refused") {
        decoder it;
        CHECK(has(refusal([&] { (void)it.decode_method(1, "\0\x3c\0"sv); }), "needs 4"));
        // basic.deliver without its end; queue.declare; connection.blocked on channel 1.
        CHECK(has(refusal([&] { (void)it.decode_method(1, "\0\x3c\0\x3c\5tag"sv); }),
                  "cannot be read"));
        CHECK(has(refusal([&] { (void)it.decode_method(1, "\0\x32\0\x0a"sv); }),
                  "none that a broker sends"));
        CHECK(
            has(refusal([&] { (void)it.decode_method(1, "\0\x0a\0\x3c\1x"sv); }), "on channel 1"));
        CHECK(has(refusal([&] { (void)it.decode_method(0, "\0\x3c\0\x50"sv); }), "on channel 0"));
    }

    TEST_CASE("headers of messages that are short or go on and on are refused") {
        decoder it;
        CHECK(has(refusal([&] { (void)it.decode_header("\0\x3c\0\0\0\0\0\0\0\0\0\5\0"sv); }),
                  "needs 14"));
        CHECK(has(refusal([&] { (void)it.decode_header("\0\x28\0\0\0\0\0\0\0\0\0\5\0\0"sv); }),
                  "class 40"));
        CHECK(has(refusal([&] { (void)it.decode_header("\0\x3c\0\0\0\0\0\0\0\0\0\5\0\1\0\1"sv); }),
                  "cannot be read"));
        CHECK(
            has(refusal([&] { (void)it.decode_header("\0\x3c\0\0\0\0\0\0\0\0\0\5\x80\0\x9x"sv); }),
                "cannot be read"));
        const auto plain = it.decode_header("\0\x3c\0\0\0\0\0\0\0\0\0\5\0\0"sv);
        CHECK(plain.body_bytes == 5);
    }

    TEST_CASE("headers are taken up to sixteen deep and a thousand values, and else left out") {
        const auto is_taken = [](std::string_view encoded) {
            decoder it;
            const std::string payload = header_with(encoded);
            const auto header = it.decode_header(payload);
            sapwood::amqp::properties props;
            sapwood::amqp::detail::copy_properties(header, props);
            CHECK(header.body_bytes == 5);
            CHECK(props.content_type == "text");
            CHECK(props.is_persistent);
            CHECK(props.message_id == "mine!");
            CHECK(props.are_headers_left_out == props.headers.empty());
            return !props.are_headers_left_out;
        };
        for (const int depth : {2, 15, 16, 17, 3000}) {
            CAPTURE(depth);
            std::string encoded = sized("");
            for (int i = 1; i < depth; ++i) {
                encoded = sized("\1tF" + encoded);
            }
            CHECK(is_taken(encoded) == (depth <= sapwood::amqp::table_depth_max));
        }
        for (const int values : {1, 1024, 1025, 3000}) {
            CAPTURE(values);
            std::string list;
            for (int i = 1; i < values; ++i) {
                list += 'V';
            }
            const std::string encoded = sized("\1aA" + sized(list));
            CHECK(is_taken(encoded) == (values <= sapwood::amqp::table_values_max));
        }
        for (const auto nonsense : {"\0\0\0\7\1aS\0\0\0\7"sv, "\0\0\0\1\5"sv, "\0\0\0\3\1aZ"sv,
                                    "\0\0\0\7\1aA\0\0\0\1"sv}) {
            CHECK_FALSE(is_taken(nonsense));
        }
    }

    TEST_CASE("a table does not leave what it stands in") {
        decoder it;
        for (const auto text : {"\0\0\0\x77\1aI\0\0\0\1"sv, "\xff\xff\xff\xff\1"sv}) {
            const std::string payload = header_with(text);
            CHECK(has(refusal([&] { (void)it.decode_header(payload); }), "cannot be read"));
        }
        // The broker's own, in its greeting.
        std::string deep = sized("");
        for (int i = 0; i < sapwood::amqp::table_depth_max; ++i) {
            deep = sized("\1tF" + deep);
        }
        const std::string greeting = "\0\xa\0\xa\0\x9"s + deep + "\0\0\0\5PLAIN\0\0\0\5en_US"s;
        CHECK(has(refusal([&] { (void)it.decode_method(0, greeting); }), "greeting's table"));
    }

    TEST_CASE("properties and tables come out as they went in") {
        const table headers = {{"text", "a"},
                               {"number", -5},
                               {"truth", true},
                               {"real", 0.5},
                               {"nothing", {}},
                               {"list", sapwood::amqp::list{1, "b"}},
                               {"table", table{{"inner", "c"}}}};
        sapwood::amqp::publish_options options;
        options.headers = &headers;
        options.content_type = "text/plain";
        options.expiration = std::chrono::seconds(2);
        options.priority = 7;
        options.timestamp = 1'700'000'000;
        options.app_id = "app";
        std::string out;
        put_publication(out, {1, "exchange", "key", "body", "id"}, options, 4096);

        frame_splitter splitter(4096);
        std::string_view rest = out;
        frame one;
        REQUIRE(splitter.next(rest, one));
        REQUIRE(splitter.next(rest, one));
        decoder it;
        const auto header = it.decode_header(one.payload);
        sapwood::amqp::properties props;
        sapwood::amqp::detail::copy_properties(header, props);
        CHECK(header.body_bytes == 4);
        CHECK(props.is_persistent);
        CHECK(props.message_id == "id");
        CHECK(props.content_type == "text/plain");
        CHECK(props.expiration == "2000");
        CHECK(props.priority == 7);
        CHECK(props.timestamp == 1'700'000'000);
        CHECK(props.app_id == "app");
        REQUIRE(props.headers.size() == headers.size());
        CHECK(text_of(props.headers, "text") == "a");
        const auto value = [&](const char* name) { return find(props.headers, name)->value; };
        CHECK(std::get<std::int64_t>(value("number")) == -5);
        CHECK(std::get<bool>(value("truth")));
        CHECK(std::get<double>(value("real")) == 0.5);
        CHECK(std::holds_alternative<std::monostate>(value("nothing")));
        CHECK(std::get<std::string>(std::get<sapwood::amqp::list>(value("list"))[1].value) == "b");
        CHECK(text_of(std::get<table>(value("table")), "inner") == "c");
        CHECK(find(props.headers, "missing") == nullptr);
    }

    TEST_CASE("bodies are cut into frames, and what is too long for the protocol is refused") {
        std::string out;
        put_publication(out, {1, "", "key", std::string(10'000, 'x'), "id"}, {}, 4096);
        std::vector<std::size_t> sizes;
        frame_splitter splitter(4096);
        std::string_view rest = out;
        for (frame one; splitter.next(rest, one);) {
            if (one.type == AMQP_FRAME_BODY) {
                sizes.push_back(one.payload.size());
            }
        }
        CHECK(sizes == std::vector<std::size_t>{4088, 4088, 1824});

        out = "before";
        const std::string longer(256, 'k');
        CHECK_THROWS_AS(put_publication(out, {1, "", longer, "", "id"}, {}, 4096),
                        std::invalid_argument);
        const table large = {{"text", std::string(100'000, 'x')}};
        sapwood::amqp::publish_options options;
        options.headers = &large;
        CHECK_THROWS_AS(put_publication(out, {1, "", "key", "", "id"}, options, 128u << 10),
                        std::invalid_argument);
        CHECK(out == "before");
    }
}
