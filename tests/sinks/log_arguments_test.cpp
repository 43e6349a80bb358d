// What can stand in a log call: everything that fmt can format, and what happens when it does more
// than that: throws, or logs itself.
#include "support/co_test.hpp" // shows vectors

#include <sapwood/kv.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/memory_log_sink.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <doctest/doctest.h>
#include <fmt/chrono.h>
#include <fmt/ranges.h>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;

struct log_of_lines {
    log_of_lines() : log(options()) {}

    logger_options options() const {
        logger_options made;
        made.outputs.push_back(
            {.sink = std::make_unique<memory_log_sink>(memory),
             .form = std::make_unique<text_layout>(text_layout_options{.pattern = "%v"})});
        return made;
    }

    /// What has been logged since the last time.
    std::vector<std::string> lines() {
        log.flush_blocking();
        std::vector<std::string> found;
        std::istringstream in(memory->text().substr(seen_));
        for (std::string line; std::getline(in, line);) {
            found.push_back(line);
        }
        seen_ = memory->text().size();
        return found;
    }

    std::shared_ptr<log_memory> memory = std::make_shared<log_memory>(1u << 20);
    logger log;

  private:
    std::size_t seen_ = 0;
};

using lines = std::vector<std::string>;

/// A user's type with a format of its own: `{:b}` is brief.
struct point {
    int x;
    int y;
};

enum class colour { red, green };

enum class shape { circle };

[[nodiscard]] int format_as(shape) {
    return 7;
}

/// As a vocabulary type is that fmt 9 does not know.
template <class T>
struct maybe {
    std::optional<T> value;
};

struct faulty {};

/// Logs when it is formatted.
struct talkative {
    const logger& log;
    int depth;
};

/// What it says.
void say(const talkative& one);

} // namespace

template <>
struct fmt::formatter<point> {
    constexpr auto parse(format_parse_context& context) {
        auto at = context.begin();
        if (at != context.end() && *at == 'b') {
            brief_ = true;
            ++at;
        }
        return at;
    }

    template <class Context>
    auto format(const point& p, Context& context) const {
        return brief_ ? fmt::format_to(context.out(), "{},{}", p.x, p.y)
                      : fmt::format_to(context.out(), "point({}, {})", p.x, p.y);
    }

  private:
    bool brief_ = false;
};

template <>
struct fmt::formatter<colour> : fmt::formatter<std::string_view> {
    template <class Context>
    auto format(colour c, Context& context) const {
        return fmt::formatter<std::string_view>::format(c == colour::red ? "red" : "green",
                                                        context);
    }
};

template <class T>
struct fmt::formatter<maybe<T>> : fmt::formatter<T> {
    template <class Context>
    auto format(const maybe<T>& one, Context& context) const {
        return one.value ? fmt::formatter<T>::format(*one.value, context)
                         : fmt::format_to(context.out(), "none");
    }
};

template <>
struct fmt::formatter<faulty> : fmt::formatter<int> {
    template <class Context>
    auto format(const faulty&, Context& context) const -> decltype(context.out()) {
        fmt::format_to(context.out(), "half of it");
        throw std::runtime_error("cannot be formatted");
    }
};

template <>
struct fmt::formatter<talkative> : fmt::formatter<int> {
    template <class Context>
    auto format(const talkative& one, Context& context) const {
        say(one);
        return fmt::format_to(context.out(), "depth {}", one.depth);
    }
};

namespace {

void say(const talkative& one) {
    if (one.depth > 0) {
        one.log.info("inner {}", talkative{one.log, one.depth - 1});
    }
}

} // namespace

TEST_SUITE("log_arguments") {

    TEST_CASE("types of the program's are logged by their formatters, with their own formats") {
        log_of_lines to;
        to.log.info("{} {:b}", point{1, 2}, point{3, 4});
        to.log.info("{:>6}|{}", colour::red, colour::green);
        to.log.info("{}", shape::circle);
        to.log.info("{:03} {}", maybe<int>{7}, maybe<int>{});
        to.log.info("at", kv("where", point{5, 6}), kv("colour", colour::red));
        CHECK(to.lines() == lines{"point(1, 2) 3,4", "   red|green", "7", "007 none",
                                  "at where=\"point(5, 6)\" colour=red"});
    }

    TEST_CASE("ranges, pairs and tuples are logged, whole or joined") {
        log_of_lines to;
        const std::vector<int> numbers{1, 2, 3};
        const std::map<std::string, int> named{{"a", 1}, {"b", 2}};
        to.log.info("{} {}", numbers, std::set<char>{'x'});
        to.log.info("{}", named);
        to.log.info("{}", fmt::join(numbers, "-"));
        to.log.info("{:02x}", fmt::join(std::array<int, 3>{1, 16, 255}, ":"));
        to.log.info("{} {}", std::pair(1, 'b'), std::tuple(1, 2.5, "c"));
        to.log.info("got", kv("numbers", numbers));
        CHECK(to.lines() == lines{"[1, 2, 3] {'x'}", "{\"a\": 1, \"b\": 2}", "1-2-3", "01:10:ff",
                                  "(1, 'b') (1, 2.5, \"c\")", "got numbers=\"[1, 2, 3]\""});
    }

    TEST_CASE("durations and points in time are logged as fmt/chrono has them") {
        log_of_lines to;
        to.log.info("{} {} {:%H:%M:%S}", 250ms, 3s, 3'723s);
        to.log.info("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(std::time_t{86'400}));
        to.log.info("slow", kv("took", 15ms));
        CHECK(to.lines() == lines{"250ms 3s 01:02:03", "1970-01-02 00:00:00", "slow took=15ms"});
    }

    TEST_CASE("text may be of any kind, null and empty included") {
        log_of_lines to;
        const char array[] = "array";
        char changing[8] = "abc";
        const char* const null = nullptr;
        char* const pointer = changing;
        to.log.info("{} {} {} {}", array, changing, pointer, "literal");
        to.log.info("{} [{}] [{}] [{}]", null, "", std::string(), std::string_view());
        to.log.info("{:>5}|{:.2}", std::string_view("ab"), std::string("abcd"));
        to.log.info("f", kv("null", null), kv("array", array), kv("view", std::string_view()));
        CHECK(to.lines() == lines{"array abc abc literal", "(null) [] [] []", "   ab|ab",
                                  "f null=(null) array=array view=\"\""});
    }

    TEST_CASE("pointers, characters, booleans and bytes are logged as fmt has them") {
        log_of_lines to;
        const void* const pointer = reinterpret_cast<const void*>(std::uintptr_t{0x1234}); // NOLINT
        to.log.info("{} {} {}", pointer, fmt::ptr(static_cast<const int*>(nullptr)), nullptr);
        to.log.info("{} {:d} {} {:d} {}", 'c', 'c', true, true, std::byte{65});
        CHECK(to.lines() == lines{"0x1234 0x0 0x0", "c 99 true 1 65"});
    }

    TEST_CASE("widths and precisions may be arguments, and arguments may be numbered or named") {
        log_of_lines to;
        to.log.info("[{:>{}}] [{:.{}f}] [{:*^{}}]", 42, 6, 3.14159, 2, "mid", 9);
        to.log.info("{1} {0} {1}", "a", "b");
        to.log.info("{name} is {age}", fmt::arg("name", "ann"), fmt::arg("age", 17));
        to.log.info("{{}} {{{}}}", 1);
        CHECK(to.lines() == lines{"[    42] [3.14] [***mid***]", "b a b", "ann is 17", "{} {1}"});
    }

    TEST_CASE("there may be many arguments") {
        log_of_lines to;
        to.log.info("{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", 1, 2, 3, 4, 5, 6,
                    7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, "last");
        to.log.info("{}{}{}{}{}{}{}{}{}{}{}{}{}{}{}", 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5,
                    kv("a", 1), kv("b", 2), kv("c", 3), kv("d", 4), kv("e", 5), kv("f", 6));
        CHECK(to.lines() == lines{"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 last",
                                  "123456789012345 a=1 b=2 c=3 d=4 e=5 f=6"});
    }

    TEST_CASE("a record whose argument throws is not logged, and the ring is as it was") {
        log_of_lines to;
        to.log.info("before");
        CHECK_THROWS_WITH_AS(to.log.info("{}", faulty{}), "cannot be formatted",
                             std::runtime_error);
        CHECK_THROWS_AS(to.log.info("{} {}", 1, faulty{}), std::runtime_error);
        CHECK_THROWS_AS(to.log.info("f", kv("k", 1), kv("faulty", faulty{})), std::runtime_error);
        CHECK_THROWS_AS(to.log.info("{:>4}", 1, kv("faulty", faulty{})), std::runtime_error);
        to.log.info("after");
        CHECK(to.lines() == lines{"before", "after"}); // and no gap
        const log_stats stats = to.log.stats();
        CHECK(stats.accepted == 2);
        CHECK(stats.dropped() == 0);
    }

    TEST_CASE("an argument below the level is not formatted, so it cannot throw") {
        log_of_lines to;
        to.log.debug("{}", faulty{});
        CHECK(to.lines().empty());
    }

    TEST_CASE(
        "arguments that log while they are formatted come before the record they are part of") {
        log_of_lines to;
        to.log.info("outer {}", talkative{to.log, 3});
        to.log.info("outer", kv("who", talkative{to.log, 1}));
        CHECK(to.lines() == lines{"inner depth 0", "inner depth 1", "inner depth 2",
                                  "outer depth 3", "inner depth 0", "outer who=\"depth 1\""});
    }
}
