// Bodies without their Content-Encoding: what is no such body, and how much comes out at most.
#include "support/compressed.hpp"

#include <collector/decompressor.hpp>

#include <doctest/doctest.h>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_literals;
using sapwood::collector::can_decompress;
using sapwood::collector::content_coding;
using sapwood::collector::decompressor;
using sapwood::test::gzipped;
using sapwood::test::zstd_of;

struct way {
    content_coding coding;
    std::string (*compress)(std::string_view);
};

/// The codings that this program was built with.
std::vector<way> ways() {
    std::vector<way> all;
    if (can_decompress(content_coding::gzip)) {
        all.push_back({content_coding::gzip, [](std::string_view text) { return *gzipped(text); }});
    }
    if (can_decompress(content_coding::zstd)) {
        all.push_back({content_coding::zstd, [](std::string_view text) { return *zstd_of(text); }});
    }
    if (all.empty()) {
        MESSAGE("skipped: built without zlib and zstd");
    }
    return all;
}

std::string some_text(std::size_t size) {
    std::mt19937 random(7);
    std::string text;
    while (text.size() < size) {
        text += "{\"n\":" + std::to_string(random()) + "}\n";
    }
    text.resize(size);
    return text;
}

} // namespace

TEST_SUITE("decompressor") {
    TEST_CASE("what was compressed comes out as it was, whatever its length") {
        decompressor all;
        CHECK(all.undo(content_coding::identity, "as it is").text == "as it is");
        for (const way& each : ways()) {
            for (const std::size_t size : {0u, 1u, 1000u, 262143u, 262144u, 262145u, 1'500'000u}) {
                const std::string text = some_text(size);
                const auto got = all.undo(each.coding, each.compress(text));
                CHECK(got.status == 0);
                CHECK(got.text == text);
            }
        }
    }

    TEST_CASE("several members one after the other are one body") {
        decompressor all;
        for (const way& each : ways()) {
            const auto got = all.undo(each.coding, each.compress("one,") + each.compress("") +
                                                       each.compress("two"));
            CHECK(got.text == "one,two");
        }
    }

    TEST_CASE("a body that is cut at any byte is refused, and so is one that is nothing") {
        decompressor all;
        for (const way& each : ways()) {
            const std::string body = each.compress(some_text(300));
            for (std::size_t cut = 0; cut < body.size(); ++cut) {
                CAPTURE(cut);
                CHECK(all.undo(each.coding, body.substr(0, cut)).status == 400);
            }
        }
    }

    TEST_CASE("a body that is another thing, is damaged or goes on with something is refused") {
        decompressor all;
        for (const way& each : ways()) {
            const std::string body = each.compress(some_text(300));
            CHECK(all.undo(each.coding, "{\"a\":1}").status == 400);
            const auto behind = all.undo(each.coding, body + "{\"a\":1}");
            CHECK(behind.status == 400);
            CHECK(std::string_view(behind.reason).find("behind") != std::string_view::npos);
            CHECK(behind.text.empty());
            CHECK(all.undo(each.coding, body + '\0').status == 400);
            CHECK(all.undo(each.coding, body + body.substr(0, 9)).status == 400);
            for (std::size_t at = 0; at < body.size(); ++at) {
                std::string bad = body;
                bad[at] = static_cast<char>(bad[at] ^ 0x40);
                const auto got = all.undo(each.coding, bad);
                // A name or a time in gzip's header may be anything.
                CHECK((got.status == 400 || got.status == 413 || got.text == some_text(300)));
            }
            CHECK(all.undo(each.coding, body).text == some_text(300)); // it goes on as before
        }
        CHECK(all.undo(content_coding::other, "x").status == 415);
    }

    TEST_CASE("a body may be as long as the bound and no byte longer") {
        decompressor all({.bytes_max = 500'000});
        for (const way& each : ways()) {
            const std::string text = some_text(500'001);
            CHECK(all.undo(each.coding, each.compress(text.substr(1))).text == text.substr(1));
            CHECK(all.undo(each.coding, each.compress(text)).status == 413);
            CHECK(
                all.undo(each.coding, each.compress(text.substr(1)) + each.compress("x")).status ==
                413);
        }
    }

    TEST_CASE("a bomb costs the bound and no more, and its memory is given back") {
        decompressor all({.bytes_max = 2u << 20});
        for (const way& each : ways()) {
            const std::string bomb = each.compress(std::string(12u << 20, 'x'));
            CHECK(bomb.size() < 100'000);
            CHECK(all.undo(each.coding, bomb).status == 413);
            CHECK(all.kept_bytes() < (12u << 20));
            all.trim();
            CHECK(all.kept_bytes() <= (1u << 20));
        }
    }

    TEST_CASE("what expands to thousands of times itself is refused before it is long") {
        decompressor all({.bytes_max = 32u << 20, .ratio_max = 100});
        for (const way& each : ways()) {
            CHECK(all.undo(each.coding, each.compress(std::string(500'000, 'x'))).status == 0);
            CHECK(all.undo(each.coding, each.compress(std::string(5u << 20, 'x'))).status == 413);
            CHECK(all.kept_bytes() < (8u << 20));
        }
    }

    TEST_CASE("a window of more than eight mebibytes is refused") {
        if (!can_decompress(content_coding::zstd)) {
            MESSAGE("skipped: built without zstd");
            return;
        }
        decompressor all;
        CHECK(all.undo(content_coding::zstd, *zstd_of(some_text(1000), 23)).status == 0);
        CHECK(all.undo(content_coding::zstd, *zstd_of(some_text(1000), 27)).status == 413);
    }

    TEST_CASE("what was not built in is told apart") {
        for (const content_coding coding : {content_coding::gzip, content_coding::zstd}) {
            decompressor all;
            CHECK((all.undo(coding, "").status == 415) == !can_decompress(coding));
        }
        CHECK_FALSE(can_decompress(content_coding::other));
    }
}
