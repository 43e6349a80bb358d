// Durable logs to which somebody else appends: whatever he leaves, a log that is killed then and
// opened again has every record that was acknowledged, under its number.
#include "support/co_test.hpp"
#include "support/numbered_lines.hpp"

#include <sapwood/file.hpp>
#include <sapwood/file_log_sink.hpp>
#include <sapwood/log_verifier.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/sim_world.hpp>

#include <chrono>
#include <fcntl.h>
#include <memory>
#include <string>
#include <string_view>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using namespace std::string_literals;

const std::string pieces[] = {
    "0000000000000000 deadbeef half of a li",
    "0000000000000000 deadbeef half of a li\n",
    "by\0hand\n"s,
    "half of a\0li"s,
    "0000000000000002 deadbeef a number that is to come\n",
    "0000000000000000 deadbeef half\nby\0hand\nhalf"s,
};

constexpr std::string_view path = "/log";

task<> append_by_hand(std::string_view text) {
    file other = co_await file::open(std::string(path), {.flags = O_WRONLY | O_APPEND});
    co_await other.write_all(text);
    co_await other.close();
}

/// What the log begins with, gets from somebody and goes on with.
using two_records = task<> (*)(std::string_view piece, durability level);

task<> through_a_pipeline(std::string_view piece, durability level) {
    pipeline_options options;
    options.durable = level;
    const file_sink_options file{.path = path};
    pipeline log = co_await pipeline::open(file, options);
    for (const char* text : {"one", "two"}) {
        record item(sapwood::level::info, 1, text);
        const lsn place = co_await log.append(std::move(item));
        co_await log.durable(place);
        if (text == "one"s) {
            co_await append_by_hand(piece);
        }
    }
}

task<> through_a_logger(std::string_view piece, durability level) {
    logger_options options;
    options.crash_handler = false;
    file_log_sink_options file{.path = std::string(path)};
    file.durable = level;
    options.outputs.push_back({.sink = std::make_unique<file_log_sink>(file)});
    const logger log = co_await logger::on_this_loop(options);
    for (const char* text : {"one", "two"}) {
        log.info("{}", text);
        co_await log.durable();
        if (text == "one"s) {
            co_await append_by_hand(piece);
        }
    }
}

task<> expect_last(std::uint64_t last) {
    const file_sink_options options{.path = path, .numbered = true};
    file_sink sink = co_await file_sink::open(options);
    CHECK(to_number(sink.last_lsn()) == last);
    co_await sink.close();
}

/// Both were acknowledged; what comes then is no more than an end, or the power is cut.
void expect_both(two_records play) {
    for (const std::string& piece : pieces) {
        for (const durability level : {durability::batch(), durability::interval(1ms)}) {
            for (const sim_crash how : {sim_crash::kill, sim_crash::power_cut}) {
                CAPTURE(piece);
                CAPTURE(level.is_batch());
                sim_world world({.seed = 1});
                CHECK(world.run(play(piece, level)));
                world.crash(how);
                CHECK(world.run(expect_last(2)));
                const std::string found = world.contents(path).value_or("");
                CHECK(found.find(" one\n") != found.npos);
                CHECK(found.find(" two\n") != found.npos);
                CHECK(found.find(" two\n") > found.find(piece.substr(0, 6)));
            }
        }
    }
}

} // namespace

TEST_SUITE("durable_others") {
    TEST_CASE("a piece of somebody's takes no acknowledged record of a pipeline with it") {
        expect_both(through_a_pipeline);
    }

    TEST_CASE("a piece of somebody's takes no acknowledged record of a logger with it") {
        expect_both(through_a_logger);
    }
}
