// Which of the segments that a pipeline has set aside are kept.
#include "support/log_files.hpp"
#include "support/numbered_lines.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/retention.hpp>

#include <chrono>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <string>
#include <sys/stat.h>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using test::temporary_directory;
using strings = std::vector<std::string>;

const std::chrono::system_clock::time_point now{std::chrono::seconds(1'795'701'600)};

class segments {
  public:
    segments() { test::fill(path(), "the present one\n"); }

    [[nodiscard]] std::string path() const { return directory_ / "app.log"; }

    /// A hundred bytes that were last written to so long ago.
    std::string add(const std::string& ending, std::chrono::seconds ago = 0s,
                    const std::string& text = std::string(100, 'x')) {
        const std::string name = path() + ending;
        test::fill(name, text);
        const auto when = std::chrono::system_clock::to_time_t(now - ago);
        const timespec times[2] = {{when, 0}, {when, 0}};
        REQUIRE(::utimensat(AT_FDCWD, name.c_str(), times, 0) == 0);
        return name;
    }

    [[nodiscard]] std::string numbered(unsigned number) const {
        return fmt::format(".{:016}", number);
    }

    [[nodiscard]] std::uint64_t keep(const retention& what) const {
        const retention_report report = remove_old_segments(path(), what, now);
        CHECK(report.failures.empty());
        return report.removed;
    }

    [[nodiscard]] strings left() const { return test::files_like(path()); }

  private:
    temporary_directory directory_;
};

} // namespace

TEST_SUITE("retention") {
    TEST_CASE("so many segments are kept, the newest") {
        segments log;
        strings all;
        for (const unsigned number : {42U, 100U, 101U, 9000U}) {
            all.push_back(log.add(log.numbered(number)));
        }
        CHECK(log.keep({.files = 4}) == 0);
        CHECK(log.keep({.files = 3}) == 1);
        CHECK(log.left() == strings(all.begin() + 1, all.end()));
        CHECK(log.keep({.files = 1}) == 2);
        CHECK(log.left() == strings{all.back()});
        CHECK(log.keep({}) == 0);
    }

    TEST_CASE("a number that was there twice is two segments, the first of them older") {
        segments log;
        log.add(log.numbered(7));
        const strings kept{log.add(log.numbered(7) + "-2"), log.add(log.numbered(7) + "-3")};
        CHECK(log.keep({.files = 2}) == 1);
        CHECK(log.left() == kept);
    }

    TEST_CASE("the tenth of a number is newer than the second") {
        segments log;
        log.add(log.numbered(7) + "-2");
        const strings kept{log.add(log.numbered(7) + "-10")};
        CHECK(log.keep({.files = 1}) == 1);
        CHECK(log.left() == kept);
    }

    TEST_CASE("where numbers begin anew with each run, those that were written to first go first") {
        for (const auto& [what, removed] :
             {std::pair(retention{.files = 2}, 3U), std::pair(retention{.age = 7300s}, 3U),
              std::pair(retention{.bytes = 200}, 3U)}) {
            segments log;
            log.add(log.numbered(1000), 5h);
            log.add(log.numbered(2000), 4h);
            log.add(log.numbered(3000), 3h);
            const strings kept{log.add(log.numbered(500), 2h), log.add(log.numbered(900), 1h)};
            CHECK(log.keep(what) == removed);
            CHECK(log.left() == kept);
        }
    }

    TEST_CASE("a numbered log that began anew has its order from the times, too") {
        segments log;
        log.add(log.numbered(1000), 2h, test::numbered(1, "one"));
        const strings kept{log.add(log.numbered(500), 1h, test::numbered(1, "one"))};
        CHECK(log.keep({.files = 1}) == 1);
        CHECK(log.left() == kept);
    }

    TEST_CASE("where numbers go on from file to file they count, however the clock was set") {
        segments log;
        log.add(log.numbered(500), 1h, test::numbered(1, "one"));
        log.add(log.numbered(1000), 2h, test::numbered(0, "the log's own"));
        const strings kept{log.add(log.numbered(1500), 3h, test::numbered(1000, "text"))};
        CHECK(log.keep({.files = 1}) == 2);
        CHECK(log.left() == kept);
    }

    TEST_CASE("a log that began anew keeps its newest, though it has not come as far as before") {
        const std::string text(70, 'x');
        const std::uint64_t bytes = test::numbered(1, text).size();
        for (const retention what :
             {retention{.files = 2}, retention{.age = 7300s}, retention{.bytes = 2 * bytes}}) {
            segments log;
            log.add(log.numbered(5000), 4h, test::numbered(4000, text));
            log.add(log.numbered(6000), 3h, test::numbered(5000, text));
            const strings kept{log.add(log.numbered(300), 2h, test::numbered(1, text)),
                               log.add(log.numbered(700), 1h, test::numbered(300, text))};
            CHECK(log.keep(what) == 2);
            CHECK(log.left() == kept);
        }
    }

    TEST_CASE("a segment that begins with others' lines does not have the clock decide") {
        segments log;
        log.add(log.numbered(1000), 1h, test::numbered(1, "one"));
        log.add(log.numbered(2000), 2h, std::string(5000, 'x') + "\n");
        const strings kept{log.add(log.numbered(3000), 3h, test::numbered(2000, "text"))};
        CHECK(log.keep({.files = 1}) == 2);
        CHECK(log.left() == kept);
    }

    TEST_CASE("nor do lost records that a segment begins with telling of") {
        segments log;
        log.add(log.numbered(1000), 1h, test::numbered(1, "one"));
        const strings kept{
            log.add(log.numbered(2000), 2h,
                    test::numbered(1005, "2026-11-21 22:39:56.123 0 warning 6 records are missing "
                                         "here, numbers 1000 to 1005: full \\(log)"))};
        CHECK(log.keep({.files = 1}) == 1);
        CHECK(log.left() == kept);
    }

    TEST_CASE("they are kept for so long") {
        segments log;
        log.add(log.numbered(1), 3h);
        log.add(log.numbered(2), 2h);
        const std::string kept = log.add(log.numbered(3), 1h);
        CHECK(log.keep({.age = 7200s}) == 1);
        CHECK(log.keep({.age = 7199s}) == 1);
        CHECK(log.left() == strings{kept});
    }

    TEST_CASE(
        "what was written to by a clock that is ahead is no older for what is called behind it") {
        segments log;
        log.add(log.numbered(100), -1s, test::numbered(1, "one"));
        log.add(log.numbered(100) + "-2", 8760h, "another's\n");
        CHECK(log.keep({.age = 720h}) == 0);
        CHECK(log.left().size() == 2);
    }

    TEST_CASE("they are kept as long as all of them have no more bytes") {
        segments log;
        log.add(log.numbered(1));
        const strings kept{log.add(log.numbered(2)), log.add(log.numbered(3))};
        CHECK(log.keep({.bytes = 300}) == 0);
        CHECK(log.keep({.bytes = 299}) == 1);
        CHECK(log.left() == kept);
    }

    TEST_CASE(
        "nothing else is touched: the log itself, what it is about to become, and strangers'") {
        segments log;
        const strings others{log.add(".0000000000000009.zst"),
                             log.add(".000000000000001"),
                             log.add(".00000000000000x1"),
                             log.add(".0000000000000001-"),
                             log.add(".0000000000000001-a"),
                             log.add(".20261126T141236.123Z"),
                             log.add(".next"),
                             log.add(".torn"),
                             log.add("x.0000000000000001")};
        const std::string directory = log.path() + log.numbered(3);
        REQUIRE(::mkdir(directory.c_str(), 0700) == 0);
        log.add(log.numbered(2));
        CHECK(log.keep({.files = 0, .age = 1s, .bytes = 1}) == 1);
        CHECK(log.left().size() == others.size() + 1);
        CHECK(test::contents_of(log.path()) == "the present one\n");
    }

    TEST_CASE("a directory that cannot be read is told") {
        CHECK_THROWS_AS((void)remove_old_segments("/no/such/app.log", {.files = 1}, now),
                        std::system_error);
    }
}
