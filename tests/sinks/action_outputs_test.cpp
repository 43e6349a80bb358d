// action, in outputs of several kinds: those that hold back, that keep for when an error comes, and
// that show where a record was made.
#include "support/action_lines.hpp"
#include "support/co_test.hpp"

#include <sapwood/logger.hpp>
#include <sapwood/text_layout.hpp>
#include <sapwood/this_task.hpp>
#include <sapwood/trace_parent.hpp>

#include <algorithm>
#include <chrono>
#include <doctest/doctest.h>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using strings = std::vector<std::string>;

/// What an output has written.
struct output_text {
    std::shared_ptr<log_memory> memory = std::make_shared<log_memory>(1u << 20);

    [[nodiscard]] log_output_options with(log_output_options made = {}) const {
        made.sink = std::make_unique<memory_log_sink>(memory);
        made.form = std::make_unique<json_layout>();
        return made;
    }

    [[nodiscard]] strings lines() const { return test::lines_of(memory->text()); }

    [[nodiscard]] strings outline() const { return test::outline_of(memory->text()); }
};

log_output_options keeping() {
    log_output_options made;
    made.recent.records_max = 100;
    return made;
}

} // namespace

TEST_SUITE("action_outputs") {

    TEST_CASE("each place where actions begin has its rate, and so have their ends") {
        const output_text to;
        {
            logger_options options;
            log_output_options limited;
            limited.limits.each_call_site = {.records = 3, .interval = 1h};
            options.outputs.push_back(to.with(std::move(limited)));
            const logger log(std::move(options));
            for (int i = 0; i < 10; ++i) {
                auto one = log.start_action("one");
                auto other = log.start_action("other");
            }
        }
        const auto told = to.outline();
        for (const std::string& each : strings{"one+@", "ones@", "other+@", "others@"}) {
            CAPTURE(each);
            CHECK(std::ranges::count_if(told, [&each](const std::string& line) {
                      return line.starts_with(each);
                  }) == 3);
        }
    }

    CO_TEST_CASE("records of actions carry where they were begun, and the task") {
        const output_text to;
        logger_options options;
        options.outputs.push_back(to.with());
        options.keep_location = true;
        options.keep_task = true;
        const logger log(std::move(options));
        this_task::set_name("worker");
        { auto action = log.start_action("one", kv("a", 1)); }
        auto failing = log.start_action("two");
        failing.fail("kind", std::string(100'000, 'x'));
        co_await log.flush();
        const auto lines = to.lines();
        REQUIRE(lines.size() == 4);
        for (const std::string& line : lines) {
            CHECK(test::member_of(line, "location").find("action_outputs_test.cpp:") != line.npos);
            CHECK(test::member_of(line, "task") == "worker");
        }
        CHECK(test::member_of(lines[0], "location") == test::member_of(lines[1], "location"));
        CHECK(lines[0].ends_with(R"("fields":{"a":1}})"));
    }

    TEST_CASE("what is made for keeping only takes no number of what is shown") {
        const output_text shows;
        const output_text keeps;
        logger_options options;
        options.outputs.push_back(shows.with());
        options.outputs.push_back(keeps.with(keeping()));
        const logger log(std::move(options));
        std::string id;
        {
            auto outer = log.start_action("outer");
            id = outer.task_uuid() + "@/";
            log.debug("detail", kv("a", 1));
            {
                auto hidden = log.start_action(level::debug, "hidden");
                log.debug("deeper");
                log.info("shown");
                auto inner = log.start_action("inner");
                log.debug("in inner");
                CHECK(log.serialize_task_id() == id + "3/2");
                CHECK(hidden.serialize_task_id() == hidden.task_uuid() + "@/0");
                CHECK(trace_parent::parse(hidden.traceparent())->trace_id() ==
                      trace_parent::parse(log.traceparent())->trace_id());
            }
            log.info("last");
            log.error("it failed");
        }
        log.flush_blocking();
        CHECK(shows.outline() == strings{"outer+@1", "shown@2", "inner+@3,1", "inners@3,3",
                                         "last@4", "it failed@5", "outers@6"});
        const auto all = keeps.outline();
        REQUIRE(all.size() == 14);
        CHECK(all[5].starts_with("kept until now"));
        CHECK(strings(all.begin() + 6, all.begin() + 11) ==
              strings{"detail", "hidden+@1", "deeper", "in inner", "hiddens@2"});
        const auto lines = keeps.lines();
        CHECK(lines[6].ends_with(R"("fields":{"inside":")" + id + R"(","a":1}})"));
        CHECK(lines[7].ends_with(R"("fields":{"continues":")" + id + R"("}})"));
        CHECK(lines[8].ends_with(R"("fields":{"inside":")" +
                                 test::member_of(lines[7], "task_uuid") + R"(@/"}})"));
        CHECK(lines[9].ends_with(R"("fields":{"inside":")" + id + R"(3"}})"));
        CHECK(test::member_of(lines[10], "children") == "0");
    }

    TEST_CASE("an action that is kept only is so to its end, however it ends") {
        const output_text shows;
        const output_text keeps;
        logger_options options;
        options.outputs.push_back(shows.with());
        options.outputs.push_back(keeps.with(keeping()));
        const logger log(std::move(options));
        auto hidden = log.start_action(level::debug, "hidden");
        log.set_level(level::debug);
        log.debug("shown"); // in nothing that is
        {
            auto seen = log.start_action("seen"); // a task of its own, in the same trace
            CHECK(trace_parent::parse(seen.traceparent())->trace_id() ==
                  trace_parent::parse(hidden.traceparent())->trace_id());
        }
        hidden.fail("kind", "reason");
        log.dump_recent();
        log.flush_blocking();
        CHECK(shows.outline() == strings{"shown", "seen+@1", "seens@2"});
        const auto all = keeps.outline();
        CHECK(std::ranges::count(all, "hiddenf@2") == 1);
    }

    TEST_CASE("an action that is kept, and goes on when what is kept is written, has its end among "
              "what is written next") {
        const output_text shows;
        const output_text keeps;
        logger_options options;
        options.outputs.push_back(shows.with());
        options.outputs.push_back(keeps.with(keeping()));
        const logger log(std::move(options));
        {
            auto hidden = log.start_action(level::debug, "hidden");
            log.error("it failed");
        }
        log.flush_blocking();
        const auto until_then = keeps.outline();
        CHECK(std::ranges::count(until_then, "hidden+@1") == 1);
        CHECK(std::ranges::count(until_then, "hiddens@2") == 0);
        log.error("it failed again");
        log.flush_blocking();
        const auto all = keeps.outline();
        CHECK(std::ranges::count(all, "hidden+@1") == 1);
        CHECK(std::ranges::count(all, "hiddens@2") == 1);
        CHECK(shows.outline() == strings{"it failed", "it failed again"});
    }
}
