// log_verifier: what it finds in a log, and that it finds nothing where nothing is.
#include "support/numbered_lines.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/log_verifier.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

namespace {

using namespace std::string_literals;
using sapwood::damaged_piece;
using sapwood::log_verifier;
using sapwood::lsn;
using sapwood::verified_log;
using sapwood::test::fill;
using sapwood::test::numbered;
using sapwood::test::temporary_directory;

std::string line(std::uint64_t place, std::uint32_t producer = 1, std::uint64_t sequence = 0) {
    return numbered(place, fmt::format("2026-11-21 22:39:56.123 {}{} info text {}", producer,
                                       sequence == 0 ? "" : fmt::format("#{}", sequence), place));
}

std::string lines(std::uint64_t first, std::uint64_t last) {
    std::string text;
    for (std::uint64_t i = first; i <= last; ++i) {
        text += line(i);
    }
    return text;
}

verified_log verified(const std::string& path) {
    log_verifier verifier;
    return verifier.verify(log_verifier::segments_of(path));
}

/// The most memory that this process has had.
std::uint64_t peak_bytes() {
    struct ::rusage used {};

    ::getrusage(RUSAGE_SELF, &used);
    return static_cast<std::uint64_t>(used.ru_maxrss) << 10;
}

verified_log verified_text(std::string_view text) {
    const temporary_directory folder;
    fill(folder / "log", text);
    return verified(folder / "log");
}

} // namespace

TEST_SUITE("log_verifier") {
    TEST_CASE("an empty log and a whole one are whole") {
        CHECK(verified_text("").is_whole());
        const auto log = verified_text(lines(1, 100));
        CHECK(log.is_whole());
        CHECK(log.lines == 100);
        CHECK(log.first == lsn{1});
        CHECK(log.last == lsn{100});
        CHECK(log.repeated == 0);
    }

    TEST_CASE("numbers that are missing are found, and whether the log says so") {
        const auto log = verified_text(lines(1, 3) + lines(7, 8));
        CHECK(!log.is_whole());
        CHECK(log.missing_records_untold == 3);
        REQUIRE(log.missing.size() == 1);
        CHECK(log.missing[0].which.first == lsn{4});
        CHECK(log.missing[0].which.last == lsn{6});
        const auto told = verified_text(
            lines(1, 3) +
            numbered(6, "2026-11-21 22:39:56.123 0 warning 3 records are missing here, numbers 4 "
                        "to 6: No space left on device \\(log)") +
            lines(7, 8));
        CHECK(told.is_whole());
        CHECK(told.missing_records_told == 3);
        CHECK(told.lines == 5);
        const auto forged = verified_text(
            lines(1, 3) +
            numbered(6, "2026-11-21 22:39:56.123 1 info 3 records are missing here, numbers 4 to "
                        "6: so they say") +
            lines(7, 8));
        CHECK(forged.missing_records_untold == 2);
    }

    TEST_CASE("a line that tells of one record is known in the singular, and as it was before") {
        for (const std::string says : {"1 record is missing here, number 4: ",
                                       "1 records are missing here, numbers 4 to 4: "}) {
            const auto told = verified_text(
                lines(1, 3) +
                numbered(4, "2026-11-21 22:39:56.123 0 warning " + says + "full \\(log)") +
                lines(5, 5));
            CHECK(told.missing_records_told == 1);
            CHECK(told.is_whole());
        }
        const auto other = verified_text(
            lines(1, 3) +
            numbered(6, "2026-11-21 22:39:56.123 0 warning 1 record is missing here, number 6: "
                        "full \\(log)"));
        CHECK(other.missing_records_untold == 2);
    }

    TEST_CASE("a log whose oldest segments are gone is whole all the same") {
        CHECK(verified_text(lines(1000, 1010)).is_whole());
    }

    TEST_CASE("a line with a turned bit, zeros, a foreign line and a torn end are found where they "
              "are") {
        std::string wrong = line(2);
        wrong[40] ^= 1;
        const std::string first = line(1);
        const auto log =
            verified_text(first + wrong + std::string(10, '\0') + "\nmine\n" + line(3) + "torn");
        CHECK(log.damaged_pieces == 4);
        REQUIRE(log.damaged.size() == 4);
        CHECK(log.damaged[0].is == damaged_piece::kind::broken);
        CHECK(log.damaged[0].offset == first.size());
        CHECK(log.damaged[0].bytes == wrong.size());
        CHECK(log.damaged[1].is == damaged_piece::kind::broken);
        CHECK(log.damaged[2].is == damaged_piece::kind::foreign);
        CHECK(log.damaged[3].is == damaged_piece::kind::torn);
        CHECK(log.missing_records_untold == 1);
    }

    TEST_CASE("every turned bit of a log is found") {
        const std::string log = lines(1, 3);
        for (std::size_t at = 0; at < log.size(); ++at) {
            std::string other = log;
            other[at] = static_cast<char>(other[at] ^ 4);
            CAPTURE(at);
            CHECK(!verified_text(other).is_whole());
        }
    }

    TEST_CASE("segments are read in order, and what the next one repeats does not count") {
        const temporary_directory folder;
        std::string wrong = line(6);
        wrong[40] ^= 1;
        // After a failed sync: 5 and what came behind it is worth nothing there.
        fill(folder / "log.0000000000000003", lines(1, 2));
        fill(folder / "log.0000000000000005", lines(3, 5) + wrong + "torn");
        fill(folder / "log", lines(5, 9));
        fill(folder / "log.1", "somebody else's");
        fill(folder / "log.torn", "torn");
        for (const std::string no_segment : {"-1", "-0", "-x", "x2", "2", "-"}) {
            fill(folder / ("log.0000000000000004" + no_segment), "nobody's");
        }
        fill(folder / "log.0000000000000005-2", lines(5, 5)); // set aside twice
        const auto log = verified(folder / "log");
        CHECK(log.is_whole());
        REQUIRE(log.segments.size() == 4);
        CHECK(log.segments[1].bytes == (lines(3, 5) + wrong + "torn").size());
        CHECK(log.lines == 9);
        CHECK(log.superseded == 4);
        std::filesystem::remove(folder / "log.0000000000000005");
        CHECK(verified(folder / "log").missing_records_untold == 2);
    }

    TEST_CASE("what is damaged or missing is found by its file, and the line in that file") {
        const temporary_directory folder;
        fill(folder / "log.0000000000000003", line(1) + "theirs\n" + line(2));
        fill(folder / "log", line(3) + "mine\n" + line(5));
        const auto log = verified(folder / "log");
        REQUIRE(log.damaged.size() == 2);
        CHECK(log.damaged[0].file == folder / "log.0000000000000003");
        CHECK(log.damaged[0].line == 2);
        CHECK(log.damaged[1].file == folder / "log");
        CHECK(log.damaged[1].line == 2);
        REQUIRE(log.missing.size() == 1);
        CHECK(log.missing[0].line == 3);
    }

    TEST_CASE("rotated files are read in the order of their lines, whatever their first line is") {
        const temporary_directory folder;
        fill(folder / "log.20261126T141236.123Z", lines(1, 4));
        fill(folder / "log.0000000000000007", lines(5, 8)); // its sync failed: 7, 8 come again
        fill(folder / "log.20261126T141236.124Z", "somebody's\n" + lines(7, 9));
        fill(folder / "log.20261126T151236.000Z", "");
        fill(folder / "log", lines(10, 12));
        const auto log = verified(folder / "log");
        CHECK(log.lines == 12);
        CHECK(log.superseded == 2);
        CHECK(log.missing_records_untold == 0);
        REQUIRE(log.damaged.size() == 1);
        CHECK(log.damaged[0].is == damaged_piece::kind::foreign);
    }

    TEST_CASE("what is set aside or removed while a log is read is no gap, and no error") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(path + ".0000000000000003", lines(1, 2));
        fill(path + ".0000000000000005", lines(3, 4));
        fill(path, lines(5, 6));
        bool is_rotated = false;
        log_verifier verifier([&](std::uint64_t, std::uint64_t) {
            if (!std::exchange(is_rotated, true)) {
                std::filesystem::rename(path, path + ".0000000000000007");
                fill(path, lines(7, 9));
                std::filesystem::remove(path + ".0000000000000005");
            }
        });
        const verified_log log = verifier.verify_log(path);
        CHECK(is_rotated);
        CHECK(log.is_whole());
        CHECK(log.lines == 6);
    }

    TEST_CASE("a log that is rotated as it is listed is whole each time") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        const auto aside = [&path](std::uint64_t next) {
            return fmt::format("{}.{:016}", path, next);
        };
        constexpr std::uint64_t rounds = 300;
        constexpr std::uint64_t kept = 5;
        fill(path, lines(1, 1));
        std::atomic<std::uint64_t> wanted{1};
        std::thread writer([&] {
            for (std::uint64_t next = 2; next <= rounds; ++next) {
                wanted.wait(next - 1);
                fill(path + ".next", lines(next, next));
                std::filesystem::rename(path, aside(next));
                std::filesystem::rename(path + ".next", path);
                if (next > kept) {
                    std::filesystem::remove(aside(next - kept + 1));
                }
            }
        });
        int not_whole = 0;
        for (std::uint64_t round = 2; round <= rounds; ++round) {
            wanted.store(round);
            wanted.notify_one();
            try {
                log_verifier verifier;
                not_whole += verifier.verify_log(path).is_whole() ? 0 : 1;
            } catch (const std::system_error& error) {
                FAIL_CHECK(std::string(error.what()));
            }
        }
        writer.join();
        CHECK(not_whole == 0);
    }

    TEST_CASE("a log of more segments than a process may have open is read all the same") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        constexpr std::uint64_t segments = 100;
        for (std::uint64_t i = 1; i <= segments; ++i) {
            fill(fmt::format("{}.{:016}", path, i + 1), lines(i, i));
        }
        fill(path, lines(segments + 1, segments + 1));
        const int next = ::dup(0);
        ::close(next);
        ::rlimit before{};
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
        ::rlimit few = before;
        few.rlim_cur = static_cast<::rlim_t>(next) + 40;
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
        std::uint64_t found = 0;
        int left = 0;
        try {
            log_verifier verifier([&](std::uint64_t, std::uint64_t) {
                if (found++ == 0) { // others have some, too
                    left = ::dup(0);
                    ::close(left);
                }
            });
            found = verifier.verify_log(path).lines;
        } catch (const std::system_error& error) {
            FAIL_CHECK(std::string(error.what()));
        }
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
        CHECK(found == segments + 1);
        CHECK(left > 0);
    }

    TEST_CASE("repeated lines are counted") {
        const auto log = verified_text(lines(1, 3) + lines(2, 4));
        CHECK(log.is_whole());
        CHECK(log.repeated == 2);
        CHECK(log.lines == 4);
    }

    TEST_CASE(
        "a number that stands twice before different text is found, and one that comes late") {
        const std::string other = numbered(2, "2026-11-21 22:39:56.123 1 info another text");
        const auto twice = verified_text(lines(1, 3) + other + line(4));
        CHECK(!twice.is_whole());
        REQUIRE(twice.damaged.size() == 1);
        CHECK(twice.damaged[0].is == damaged_piece::kind::conflict);
        CHECK(twice.damaged[0].line == 4);
        CHECK(twice.repeated == 0);
        CHECK(twice.lines == 4);
        const auto late = verified_text(lines(1, 2) + line(4) + line(3));
        REQUIRE(late.damaged.size() == 1);
        CHECK(late.damaged[0].is == damaged_piece::kind::conflict);
        CHECK(late.missing_records_untold == 1);
    }

    TEST_CASE("each producer's records, and gaps in its own numbers, are told") {
        std::string text;
        std::uint64_t place = 0;
        for (const std::uint64_t sequence : {1u, 2u, 5u, 5u}) {
            text += line(++place, 7, sequence);
            text += line(++place, 4'000'000'000);
        }
        const auto log = verified_text(text);
        REQUIRE(log.producers.size() == 2);
        const auto& seven = log.producers.at(7);
        CHECK(seven.count == 4);
        CHECK(seven.first == lsn{1});
        CHECK(seven.last == lsn{7});
        CHECK(seven.first_sequence == 1);
        CHECK(seven.last_sequence == 5);
        CHECK(seven.sequence_gaps == 1);
        CHECK(seven.sequence_repeats == 1);
        CHECK(log.producers.at(4'000'000'000).count == 4);
    }

    TEST_CASE("lines of any length are read, across whatever blocks") {
        std::string text;
        for (std::uint64_t i = 1; i <= 40; ++i) {
            text += numbered(i, std::string(i * i * i * 100, 'x'));
        }
        CHECK(verified_text(text).is_whole());
        CHECK(verified_text(text).lines == 40);
    }

    TEST_CASE("a line of many blocks is what a short one is: whole, broken, foreign or torn") {
        const std::string text(5 << 20, 'x');
        const std::string whole = numbered(2, "2026-11-21 22:39:56.123 8#3 info " + text);
        std::string broken = whole;
        broken[4 << 20] ^= 1;
        const std::string foreign = text + "\n";
        const auto log = verified_text(line(1) + whole + broken + foreign + line(3) + whole);
        CHECK(log.lines == 3);
        CHECK(log.repeated == 1);
        CHECK(log.producers.at(8).count == 1);
        CHECK(log.producers.at(8).first_sequence == 3);
        REQUIRE(log.damaged.size() == 2);
        CHECK(log.damaged[0].is == damaged_piece::kind::broken);
        CHECK(log.damaged[0].offset == line(1).size() + whole.size());
        CHECK(log.damaged[0].bytes == whole.size());
        CHECK(log.damaged[1].is == damaged_piece::kind::foreign);
        CHECK(log.damaged[1].bytes == foreign.size());
        CHECK(log.damaged[1].line == 4);
        CHECK(log.segments.back().bytes ==
              line(1).size() + 3 * whole.size() + foreign.size() + line(3).size());
        const auto torn = verified_text(line(1) + whole.substr(0, 3 << 20));
        REQUIRE(torn.damaged.size() == 1);
        CHECK(torn.damaged[0].is == damaged_piece::kind::torn);
        CHECK(torn.damaged[0].bytes == 3 << 20);
    }

    TEST_CASE("space of many blocks that was preallocated is no damage, and a piece before it is") {
        const std::string first = line(1);
        for (const std::string& piece : {""s, "torn"s}) {
            CAPTURE(piece);
            std::string text = first + piece;
            text.resize(5 << 20, '\0');
            const auto log = verified_text(text);
            CHECK(log.damaged_pieces == piece.size() / 4);
            CHECK(log.damaged_bytes == piece.size());
            CHECK(log.segments[0].preallocated_bytes == text.size() - first.size() - piece.size());
        }
    }

    TEST_CASE("a line of any length takes no memory") {
        const temporary_directory folder;
        fill(folder / "log", line(1));
        std::filesystem::resize_file(folder / "log", (192u << 20) + 1); // zeros that take no space
        const auto before = peak_bytes();
        const auto log = verified(folder / "log");
        CHECK(log.damaged_bytes == (192u << 20) + 1 - line(1).size());
        CHECK(peak_bytes() - before < 64u << 20);
    }

    TEST_CASE("a log that cannot be read is an error that names it") {
        const temporary_directory folder;
        CHECK_THROWS_WITH_AS((void)verified(folder / "nothing"), doctest::Contains("nothing"),
                             std::system_error);
    }
}
