// line_buffer: however the reads fall, the same lines.
#include "inputs/line_buffer.hpp"

#include <algorithm>
#include <cstring>
#include <doctest/doctest.h>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_view_literals;

/// What comes out when `text` is read in pieces of `piece` bytes at the most.
std::vector<std::string> blocks(std::string_view text, std::size_t piece,
                                line_buffer::limits limits) {
    line_buffer lines(limits);
    std::vector<std::string> out;
    const auto keep = [&](std::string_view block) { return out.emplace_back(block).size(); };
    while (!text.empty()) {
        const auto space = lines.space();
        REQUIRE(!space.empty());
        const std::size_t bytes = std::min({piece, space.size(), text.size()});
        std::memcpy(space.data(), text.data(), bytes);
        text.remove_prefix(bytes);
        lines.added(bytes);
        if (lines.ready()) {
            (void)lines.take(keep);
        }
    }
    lines.added(0);
    REQUIRE(!lines.ready());
    if (lines.size() > 0) {
        (void)lines.take(keep);
    }
    REQUIRE(lines.size() == 0);
    return out;
}

/// The log that the blocks make.
std::string log_of(std::string_view text, std::size_t piece, line_buffer::limits limits) {
    std::string log;
    for (const auto& block : blocks(text, piece, limits)) {
        log += block + "\n";
    }
    return log;
}

} // namespace

TEST_SUITE("line_buffer") {

    TEST_CASE("lines come out as they went in, a last one with its newline") {
        const line_buffer::limits small{.read_bytes = 4, .line_bytes_max = 1000};
        for (const auto text :
             {""sv, "\n"sv, "\n\n"sv, "a"sv, "a\n"sv, "a\nb"sv, "\na\n\nb\r\n\n"sv,
              "longer than a read\nand so\non"sv, "a\0b\n\0\n"sv}) {
            for (std::size_t piece = 1; piece <= text.size(); ++piece) {
                CAPTURE(piece);
                const bool ends_well = text.empty() || text.back() == '\n';
                REQUIRE(log_of(text, piece, small) == std::string(text) + (ends_well ? "" : "\n"));
            }
        }
    }

    TEST_CASE("all lines of one read come out as one block") {
        const line_buffer::limits limits{.read_bytes = 100, .line_bytes_max = 1000};
        CHECK(blocks("a\nb\nc\nd", 100, limits) == std::vector<std::string>{"a\nb\nc", "d"});
        CHECK(blocks("a\n\n", 100, limits) == std::vector<std::string>{"a\n"});
        CHECK(blocks("\n", 100, limits) == std::vector<std::string>{""});
    }

    TEST_CASE("a line may be as long as the maximum, and a longer one is cut there") {
        const line_buffer::limits limits{.read_bytes = 4, .line_bytes_max = 10};
        const std::string ten(10, 'x');
        for (std::size_t piece = 1; piece < 40; ++piece) {
            CAPTURE(piece);
            CHECK(log_of(ten + "\nafter\n", piece, limits) == ten + "\nafter\n");
            CHECK(log_of(ten, piece, limits) == ten + "\n");
            CHECK(log_of(ten + "y\nafter\n", piece, limits) == ten + "\ny\nafter\n");
            CHECK(log_of(ten + ten + ten + "z", piece, limits) ==
                  ten + "\n" + ten + "\n" + ten + "\nz\n");
        }
    }

    TEST_CASE("random texts in random pieces come out whole") {
        const auto seed = std::random_device()();
        CAPTURE(seed);
        std::mt19937 random(seed);
        for (int round = 0; round < 2000; ++round) {
            std::string text(random() % 200, ' ');
            for (char& c : text) {
                c = random() % 6 == 0 ? '\n' : static_cast<char>('a' + random() % 26);
            }
            text += "\n";
            const line_buffer::limits limits{.read_bytes = 1 + random() % 50,
                                             .line_bytes_max = 300};
            REQUIRE(log_of(text, 1 + random() % 60, limits) == text);
        }
    }
}
