// sapwood tree, of what a logger has written: the same in each of its forms, and complete.
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/file_log_sink.hpp>
#include <sapwood/json_layout.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/text_layout.hpp>

#include <doctest/doctest.h>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace {

using namespace sapwood;
using test::program;
using test::run_program;
using test::temporary_directory;

log_output_options output_to(const std::string& path, std::unique_ptr<log_layout> form) {
    return {.sink = std::make_unique<file_log_sink>(path), .form = std::move(form)};
}

program::outcome tree_of(const std::string& path) {
    return run_program("sapwood", {"tree", path});
}

bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

} // namespace

TEST_SUITE("tree_logger") {
    TEST_CASE("a logger's records are one tree, in text, JSON and logfmt, whatever they hold") {
        const temporary_directory at;
        {
            logger_options options;
            options.outputs.push_back(output_to(at / "json", std::make_unique<json_layout>()));
            options.outputs.push_back(output_to(at / "text", std::make_unique<text_layout>()));
            options.outputs.push_back(output_to(at / "logfmt", std::make_unique<logfmt_layout>()));
            const logger log(std::move(options));
            auto outer = log.start_action("save \"it\" = now", kv("a=b c", "x\"y=z\nw\\"),
                                          kv("level", "high"), kv("bad", "\xff\xfe"));
            log.info("it is = \"slow\" {} now", "task_uuid=u\n", kv("n", 1.5), kv("is", true));
            log.warn("a=1 b=2 is not");
            auto inner = log.start_action("inner");
            inner.fail("some kind", "no = \"room\"\n");
            outer.add_success(kv("task_uuid", "mine"), kv("action_status", "started"));
        }
        const auto json = tree_of(at / "json");
        CHECK(json.status == 0);
        CHECK(json.err.empty());
        CHECK(has(json.out, "save \"it\" = now/1 ⇒ started "));
        CHECK(has(json.out, "├── inner/4/1 ⇒ started "));
        CHECK(has(json.out, "reason: no = \"room\""));
        CHECK(has(json.out, "task_uuid: mine\n"));
        for (const std::string form : {"text", "logfmt"}) {
            CAPTURE(form);
            const auto other = tree_of(at / form);
            CHECK(other.status == 0);
            CHECK(other.err.empty());
            CHECK(other.out == json.out);
        }
    }

    TEST_CASE("what another output keeps makes no tree incomplete") {
        const temporary_directory at;
        {
            logger_options options;
            options.outputs.push_back(output_to(at / "shown", std::make_unique<json_layout>()));
            auto keeps = output_to(at / "kept", std::make_unique<json_layout>());
            keeps.recent.records_max = 100;
            options.outputs.push_back(std::move(keeps));
            const logger log(std::move(options));
            auto outer = log.start_action("outer");
            log.debug("kept");
            auto hidden = log.start_action(level::debug, "hidden");
            log.info("shown");
            hidden.fail("kind", "reason");
            log.error("now");
        }
        const auto shown = tree_of(at / "shown");
        CHECK(shown.status == 0);
        CHECK(shown.err.empty());
        CHECK(has(shown.out, "├── shown/2 "));
        CHECK_FALSE(has(shown.out, "hidden"));
        const auto kept = tree_of(at / "kept");
        CHECK(kept.status == 0);
        CHECK(kept.err.empty());
        CHECK(has(kept.out, "└── hidden/1 ⇒ started "));
        CHECK(has(kept.out, "continues: "));
    }
}
