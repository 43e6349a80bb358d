// Forgery: strings of people who want to forge, break or hide lines, in every place of a record and
// in every form. The fuzzers of tests/fuzz go on from here.
#include "support/co_test.hpp"
#include "support/hostile_strings.hpp"
#include "support/record_forms.hpp"

#include <sapwood/escape.hpp>
#include <sapwood/json_layout.hpp>
#include <sapwood/log_ring.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/memory_log_sink.hpp>
#include <sapwood/run.hpp>
#include <sapwood/this_task.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <doctest/doctest.h>
#include <memory>
#include <pthread.h>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace sapwood;
using test::hostile_strings;

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
        lines.push_back(line);
    }
    return lines;
}

/// Escaped, for messages of this test.
std::string shown(std::string_view text) {
    std::string escaped;
    escape(text, escaped);
    return escaped.substr(0, 100);
}

} // namespace

TEST_SUITE("log_forgery") {

    TEST_CASE("escaping is undone exactly, and leaves nothing that deceives") {
        for (const auto& text : hostile_strings()) {
            CAPTURE(shown(text));
            CHECK(test::escape_violation(text) == "");
        }
    }

    TEST_CASE("a record is one line in every form, and reads back, whatever stands in it") {
        const auto& all = hostile_strings();
        for (std::size_t i = 0; i < all.size(); ++i) {
            const std::string& one = all[i];
            CAPTURE(shown(one));
            for (const std::size_t step : {0u, 1u, 5u, 17u, 29u, 41u}) {
                const std::string& other = all[(i + step) % all.size()];
                const test::hostile_record records[] = {
                    {.message = one,
                     .key = other,
                     .value = other,
                     .logger = one,
                     .thread_name = other,
                     .task = one},
                    {.message = other,
                     .key = one,
                     .value = other,
                     .logger = other,
                     .thread_name = one,
                     .task = other,
                     .is_truncated = true},
                };
                for (const auto& each : records) {
                    const std::string violation = test::forms_violation(each);
                    if (!violation.empty()) {
                        CAPTURE(shown(other));
                        REQUIRE(violation == "");
                    }
                }
            }
        }
    }

    TEST_CASE("no message, field, logger, thread or task breaks a line on its way through a log") {
        const auto memory = std::make_shared<log_memory>(64u << 20);
        std::size_t records = 0;
        {
            logger_options options{.keep_task = true};
            const auto add = [&](std::unique_ptr<log_layout> form) {
                options.outputs.push_back(
                    {.sink = std::make_unique<memory_log_sink>(memory), .form = std::move(form)});
            };
            add(std::make_unique<text_layout>(text_layout_options{.pattern = "%n %N %k %v"}));
            add(std::make_unique<json_layout>());
            add(std::make_unique<logfmt_layout>());
            const logger log(std::move(options));
            for (const auto& text : hostile_strings()) {
                const auto log_all = [&] {
                    log.child(text).info("{}", text);
                    log.info("{:>3}", text);
                    log.text(level::warning, text);
                    log.error("e", kv(text, text));
                };
                std::thread thread([&] {
                    ::pthread_setname_np(::pthread_self(), text.substr(0, 15).c_str());
                    log_all();
                    sapwood::run([&]() -> task<> {
                        this_task::set_name(text);
                        log_all();
                        co_return;
                    });
                });
                thread.join();
                records += 8;
            }
        }
        const auto lines = lines_of(memory->text());
        CHECK(lines.size() == 3 * records);
        std::size_t deceitful = 0;
        for (const auto& line : lines) {
            deceitful += is_utf8(line) && line.find_first_of("\r\x1b\x7f") == line.npos ? 0 : 1;
        }
        CHECK(deceitful == 0);
    }

    TEST_CASE("nobody but the log can say that records are missing, or that one is cut") {
        const auto memory = std::make_shared<log_memory>(64u << 20);
        logger_options options;
        options.outputs.push_back({.sink = std::make_unique<memory_log_sink>(memory)});
        const logger log(std::move(options));
        for (const auto& text : hostile_strings()) {
            log.child(text).warn("{}", text);
            log.warn("{}", text + " \\(log)");
            log.warn("{}", text + " \\(cut)", kv(text, " \\(log)"), kv("k", "\\(log)"));
        }
        log.flush_blocking();
        for (const auto& line : lines_of(memory->text())) {
            // An odd number of backslashes: one that is not doubled.
            for (auto at = line.find("\\("); at != line.npos; at = line.find("\\(", at + 1)) {
                const auto before = line.find_last_not_of('\\', at);
                CAPTURE(line);
                REQUIRE((at - before) % 2 == 0);
            }
        }
    }

    TEST_CASE("a ring that was written over is read to its end, within its bounds") {
        using detail::log_ring_header;
        const auto seed = std::random_device()();
        CAPTURE(seed);
        std::mt19937 random(seed);
        for (int i = 0; i < 2'000; ++i) {
            std::string memory(sizeof(log_ring_header) + 4096, '\0');
            for (std::size_t at = 64; at < memory.size(); at += 1 + random() % 200) {
                memory[at] = static_cast<char>(random());
            }
            // Places that make sense, now and then.
            const std::uint64_t head = random() % 2 == 0 ? random() % 9000 / 8 * 8 : random();
            std::memcpy(memory.data() + offsetof(log_ring_header, head), &head, sizeof(head));
            for (std::size_t at = sizeof(log_ring_header); at + 24 < memory.size();
                 at += 24 + 8 * (random() % 8)) {
                const auto bytes = static_cast<std::uint32_t>(24 + 8 * (random() % 8));
                const auto message = static_cast<std::uint32_t>(random() % 60);
                std::memcpy(memory.data() + at, &bytes, sizeof(bytes));
                std::memcpy(memory.data() + at + 16, &message, sizeof(message));
            }
            REQUIRE(test::ring_violation(memory) == "");
        }
    }
}
