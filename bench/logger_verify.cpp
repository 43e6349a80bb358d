#include <charconv>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/compile.h>
#include <fmt/format.h>

#include "logger_case.hpp"
#include "writer_record.hpp"

namespace bench {

namespace {

struct origin {
    std::uint64_t producer = 0;
    std::uint64_t index = 0;
};

// Which record a line is, by its message, and what the message has to be.
bool find_origin(const logger_job& job, std::string_view line, origin& from,
                 std::string& expected) {
    const auto number_at = [&](std::string_view name, auto& number) {
        const auto at = line.rfind(name);
        return at != line.npos &&
               std::from_chars(line.data() + at + name.size(), line.data() + line.size(), number)
                       .ec == std::errc{};
    };
    if (job.what == message::integers) {
        if (!number_at("producer ", from.producer) || !number_at(" record ", from.index)) {
            return false;
        }
        const record r = record_of(from.producer, from.index);
        expected.clear();
        fmt::format_to(std::back_inserter(expected), FMT_COMPILE(BENCH_LOGGER_INTEGERS), r.producer,
                       r.index, r.user, r.took_us, r.state);
        return true;
    }
    double value = 0;
    if (!number_at(" now ", value)) {
        return false;
    }
    from.index = static_cast<std::uint64_t>(value);
    from.producer = static_cast<std::uint64_t>(std::lround((value - std::floor(value)) * 1000));
    expected = fmt::format(BENCH_LOGGER_NUMBER, number_of(from.producer, from.index));
    return true;
}

} // namespace

void verify_log(const logger_job& job) {
    std::ifstream file(job.path);
    std::vector<std::uint64_t> next(job.producers());
    std::uint64_t records = 0;
    std::string expected = BENCH_LOGGER_TEXT;
    const auto fail = [&](std::string_view what, const std::string& line) {
        throw std::runtime_error(fmt::format("{}: {}: \"{}\"", job.path, what, line));
    };
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("Log ") || line.starts_with("Running ") ||
            line.starts_with("Application ")) {
            continue; // glog's own
        }
        origin from;
        if (job.what != message::text && !find_origin(job, line, from, expected)) {
            fail("a line is no record", line);
        }
        if (!line.ends_with(expected) || line.size() <= expected.size() ||
            line.find(expected) + expected.size() != line.size()) {
            fail("a line is not what it should be", line);
        }
        if (job.what != message::text &&
            (from.producer >= next.size() || next[from.producer]++ != from.index)) {
            fail("a record is out of its producer's order", line);
        }
        ++records;
    }
    if (records != job.records) {
        throw std::runtime_error(
            fmt::format("{}: {} records instead of {}", job.path, records, job.records));
    }
}

} // namespace bench
